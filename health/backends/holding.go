package backends

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"time"
)

// A channel tells of itself once a statistics interval. The management plugin collects
// that as often as its finest samples are kept, which is every 5 s whatever the
// statistics interval is (RabbitMQ 3.10, measured), unless somebody has made them
// coarser. Its answers are kept for a few times what it takes to make them.
const (
	collectEvery = 5 * time.Second
	settleMargin = time.Second
)

// Lag implements health.Holder.
func (r *rabbit) Lag() time.Duration {
	if r.management == nil {
		return 0
	}
	return r.interval + max(r.interval, collectEvery) + settleMargin
}

// Held implements health.Holder.
func (r *rabbit) Held(ctx context.Context, clients []netip.AddrPort) (int64, error) {
	if r.management == nil {
		return 0, errors.New("management_url is not given")
	}
	ctx, done := r.life.during(ctx)
	defer done()
	return r.management.held(ctx, clients, r.Lag())
}

// peer is the client's end of a connection.
type peer struct {
	Host string `json:"peer_host"`
	Port uint16 `json:"peer_port"`
}

func (p peer) end() netip.AddrPort {
	ip, err := netip.ParseAddr(p.Host)
	if err != nil {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(ip.Unmap(), p.Port)
}

// held asks for the connections first: a channel that is opened meanwhile is among
// the channels, and one whose connection is not known counts for nothing.
func (m *management) held(ctx context.Context, clients []netip.AddrPort, lag time.Duration) (int64, error) {
	wanted := map[netip.AddrPort]bool{}
	for _, c := range clients {
		wanted[c] = true
	}
	var connections []struct {
		peer
		Heartbeat int `json:"timeout"` // seconds; 0 = none
	}
	if err := m.ask(ctx, "connections", "peer_host,peer_port,timeout", &connections); err != nil {
		return 0, err
	}
	known := 0
	for _, c := range connections {
		if !wanted[c.end()] {
			continue
		}
		known++
		if beat := time.Duration(c.Heartbeat) * time.Second; beat > 0 && beat <= lag {
			return 0, fmt.Errorf("its connection has a heartbeat of %s, and the broker would close it while the process stands still for %s", beat, lag)
		}
	}
	if known == 0 {
		return 0, errors.New("none of its connections is known to the broker: it has none, another user's are not shown, or addresses are translated on the way")
	}
	var channels []struct {
		Connection peer   `json:"connection_details"`
		Unacked    *int64 `json:"messages_unacknowledged"`
	}
	if err := m.ask(ctx, "channels", "connection_details,messages_unacknowledged", &channels); err != nil {
		return 0, err
	}
	sum := int64(0)
	for _, c := range channels {
		switch {
		case !wanted[c.Connection.end()]:
		case c.Unacked == nil:
			return 0, errors.New("the broker has no statistics of its channel yet")
		default:
			sum += *c.Unacked
		}
	}
	return sum, nil
}

// ask reads a list of the API.
func (m *management) ask(ctx context.Context, list, columns string, into any) error {
	u := m.base.JoinPath("api", list)
	u.RawQuery = url.Values{"columns": {columns}}.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return errors.New("management_url is not valid")
	}
	secret, err := m.password.current()
	if err != nil {
		return err
	}
	req.SetBasicAuth(m.user, secret)
	status, body, err := fetch(m.client, req, managementMaxBody)
	switch {
	case err != nil:
		return fmt.Errorf("management API: %w", err)
	case status != http.StatusOK:
		return fmt.Errorf("management API answered with status %d", status)
	}
	if err := json.Unmarshal([]byte(body), into); err != nil {
		return fmt.Errorf("the answer of the management API is not a list of %s: %w", list, err)
	}
	return nil
}
