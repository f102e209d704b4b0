package alert

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"qsuper/config"
	"qsuper/internal/kind"
)

var example = letter{Daemon: "shop", Host: "web1", Notices: []Notice{
	{Alert: "orders-late", Subject: "orders", State: Firing, Text: "the oldest of 12 messages waits for 6 min", Since: time.Unix(0, 0), At: time.Unix(60, 0)},
	{Alert: "db", Subject: "db", State: Resolved, Since: time.Unix(0, 0), At: time.Unix(3600, 0)},
}}

// TestWebhookBodies posts to a real server what each format is.
func TestWebhookBodies(t *testing.T) {
	var bodies []map[string]any
	code := http.StatusOK
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		raw, _ := io.ReadAll(req.Body)
		body := map[string]any{}
		if err := json.Unmarshal(raw, &body); err != nil {
			t.Error(err)
		}
		bodies = append(bodies, body)
		w.WriteHeader(code)
		_, _ = io.WriteString(w, "because\nof this")
	}))
	defer srv.Close()
	url := kind.NewSecret(srv.URL + "/s3cret")
	for format, check := range map[string]func() bool{
		"json": func() bool {
			return len(bodies) == 1 && bodies[0]["daemon"] == "shop" && len(bodies[0]["alerts"].([]any)) == 2
		},
		"slack": func() bool {
			return len(bodies) == 1 && strings.HasPrefix(bodies[0]["text"].(string), "[shop on web1] FIRING orders-late: orders: the oldest of 12")
		},
		"pagerduty": func() bool {
			return len(bodies) == 2 && bodies[0]["event_action"] == "trigger" && bodies[1]["event_action"] == "resolve" &&
				bodies[0]["dedup_key"] == "shop/web1/orders-late/orders" && bodies[0]["routing_key"] == "key"
		},
	} {
		bodies = nil
		if err := sendWebhook(t.Context(), &config.Webhook{URL: url, Format: format, RoutingKey: kind.NewSecret("key")}, example); err != nil || !check() {
			t.Errorf("%s: %v %v", format, err, bodies)
		}
	}
	for c, heals := range map[int]bool{500: true, 503: true, 429: true, 404: false, 302: false} {
		code = c
		err := sendWebhook(t.Context(), &config.Webhook{URL: url, Format: "json"}, example)
		if err == nil || errors.As(err, &permanent{}) == heals || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%d: %v", c, err)
		}
	}
	srv.Close()
	if err := sendWebhook(t.Context(), &config.Webhook{URL: url, Format: "json"}, example); err == nil || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("unreachable: %v", err)
	}
}

// TestCommand runs real programs: one that keeps what it gets, one that fails,
// and one that hangs with a child. The child holds stderr: only because it is
// ended as well does this return in time.
func TestCommand(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("RABBIT_PASSWORD", "s3cret")
	out := filepath.Join(dir, "out")
	if err := sendCommand(t.Context(), []string{"sh", "-c", "env > " + out + "; cat >> " + out}, example); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(out)
	got := string(raw)
	if err != nil || strings.Contains(got, "s3cret") || !strings.Contains(got, "QSUPER_ALERT_STATE=firing") || !strings.Contains(got, `"subject":"orders"`) {
		t.Errorf("%v %s", err, got)
	}
	if err := sendCommand(t.Context(), []string{"sh", "-c", "echo no pager here >&2; exit 3"}, example); err == nil || !strings.Contains(err.Error(), "exit status 3: no pager here") {
		t.Error(err)
	}
	if err := sendCommand(t.Context(), []string{"/no/such/program"}, example); err == nil {
		t.Error("a missing program is no error")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := sendCommand(ctx, []string{"sh", "-c", "sleep 1000 & sleep 1000"}, example); err == nil || !strings.Contains(err.Error(), "takes longer") {
		t.Error(err)
	}
}
