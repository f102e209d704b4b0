package backends

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"

	"qsuper/health"
	"qsuper/internal/kind"
)

// tcpConfig is `type: tcp`: reachable, or not. With `tls` the handshake must
// succeed too.
type tcpConfig struct {
	Address string   `yaml:"address,required"` // host:port
	TLS     kind.TLS `yaml:"tls"`              // for a server with TLS
}

func init() { health.Register(health.Kind{Type: "tcp"}, tcpConfig{}, openTCP) }

// Validate says what is wrong with the address.
func (c *tcpConfig) Validate() error {
	host, port, err := net.SplitHostPort(c.Address)
	if err != nil || host == "" || port == "" {
		return errors.New("address must be host:port, such as 127.0.0.1:5672")
	}
	return nil
}

type tcp struct {
	tcpConfig
	life lifetime
}

func openTCP(c tcpConfig) (health.Conn, error) { return &tcp{c, newLifetime()}, nil }

// Ping connects and hangs up: an open connection says nothing about the other
// side being there still.
func (t *tcp) Ping(ctx context.Context) error {
	ctx, cancel := t.life.during(ctx)
	defer cancel()
	conn, err := dial(ctx, "tcp", t.Address, t.TLS)
	if err != nil {
		return err
	}
	return conn.Close()
}

func (t *tcp) Close() error { t.life.end(); return nil }

// dial connects within ctx, with TLS where it is configured.
func dial(ctx context.Context, network, address string, settings kind.TLS) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, address)
	if err != nil || !settings.Enabled() {
		return conn, err
	}
	return secure(ctx, conn, address, settings)
}

// secure makes the TLS handshake on a connection to address, which is closed
// when that fails. Without settings the system's authorities decide.
func secure(ctx context.Context, conn net.Conn, address string, settings kind.TLS) (net.Conn, error) {
	config, err := settings.Config()
	if err != nil {
		conn.Close()
		return nil, err
	}
	if config == nil {
		config = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if config.ServerName == "" {
		config.ServerName, _, _ = net.SplitHostPort(address)
	}
	secured := tls.Client(conn, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, fmt.Errorf("tls: %w", err)
	}
	return secured, nil
}
