package control

import (
	"context"
	"net/http"
	"time"
)

// testLimit is how long a test of an alert may take: each way has 15 s.
const testLimit = 60 * time.Second

func (s *Server) alerts(w http.ResponseWriter, req *http.Request) error {
	if _, err := newQuery(req.URL.Query()); err != nil {
		return err
	}
	return s.reply(w, s.daemon.Alerts())
}

func (s *Server) testAlert(w http.ResponseWriter, req *http.Request) error {
	var t AlertTest
	if err := s.body(w, req, &t); err != nil {
		return err
	}
	s.audit(peerFrom(req.Context()), "test an alert", "name", t.Name)
	ways, err := s.daemon.TestAlert(req.Context(), t.Name)
	if err != nil {
		return err
	}
	return s.reply(w, ways)
}

// Alerts is GET /v1/alerts.
func (c *Client) Alerts(ctx context.Context) ([]AlertStatus, error) {
	var list []AlertStatus
	err := c.ask(ctx, "/v1/alerts", nil, &list)
	return list, err
}

// TestAlert is POST /v1/alerts/test.
func (c *Client) TestAlert(ctx context.Context, name string) ([]AlertWay, error) {
	ctx, cancel := c.bounded(ctx, testLimit)
	defer cancel()
	var ways []AlertWay
	err := c.tell(ctx, "/v1/alerts/test", AlertTest{name}, &ways)
	return ways, hung(ctx, err)
}
