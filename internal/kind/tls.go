package kind

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
)

// TLS is the `tls:` section of a connection.
type TLS struct {
	CA         Path   `yaml:"ca"`          // PEM file of authorities; default: the system's
	Cert       Path   `yaml:"cert"`        // PEM file with the client's certificate
	Key        Path   `yaml:"key"`         // PEM file with its key
	ServerName string `yaml:"server_name"` // name the server must prove; default: the host that is dialled

	given bool
}

// UnmarshalNode implements Unmarshaler.
func (t *TLS) UnmarshalNode(d *Decoder, n *Node, path string) {
	type plain TLS
	d.Decode(n, path, (*plain)(t))
	t.given = true
	if (t.Cert == "") != (t.Key == "") {
		d.Problems.Add(n, path, "cert and key must be given together")
	}
}

// Enabled reports whether the section was written, be it empty (`tls: {}`).
func (t TLS) Enabled() bool {
	return t.given || t.CA != "" || t.Cert != "" || t.ServerName != ""
}

// Config reads the files and returns the TLS settings, or nil when the section
// was not written. Call it when dialling, so that renewed certificates count.
func (t TLS) Config() (*tls.Config, error) {
	if !t.Enabled() {
		return nil, nil
	}
	c := &tls.Config{ServerName: t.ServerName, MinVersion: tls.VersionTLS12}
	if t.CA != "" {
		pem, err := os.ReadFile(string(t.CA))
		if err != nil {
			return nil, fmt.Errorf("read tls.ca: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("read tls.ca: %s holds no PEM certificate", t.CA)
		}
	}
	if t.Cert == "" && t.Key == "" {
		return c, nil
	}
	if t.Cert == "" || t.Key == "" {
		return nil, errors.New("tls.cert and tls.key must be given together")
	}
	pair, err := tls.LoadX509KeyPair(string(t.Cert), string(t.Key))
	if err != nil {
		return nil, fmt.Errorf("read tls.cert and tls.key: %w", err)
	}
	c.Certificates = []tls.Certificate{pair}
	return c, nil
}
