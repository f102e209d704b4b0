package alert

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"qsuper/config"
)

// letter is what goes to one destination at once.
type letter struct {
	Daemon  string   `json:"daemon"`
	Host    string   `json:"host"`
	Notices []Notice `json:"alerts"`
	Left    int      `json:"more,omitempty"` // notices that found no place
}

// permanent is an error that trying again does not heal.
type permanent struct{ error }

// Unwrap returns the error itself.
func (p permanent) Unwrap() error { return p.error }

// headline sums a letter up in one line.
func (l letter) headline() string {
	firing := 0
	for _, n := range l.Notices {
		if n.State == Firing {
			firing++
		}
	}
	first := l.Notices[0].line()
	where := fmt.Sprintf("[%s on %s] ", l.Daemon, l.Host)
	if more := len(l.Notices) + l.Left - 1; more > 0 {
		return fmt.Sprintf("%s%s, and %d more (%d firing)", where, first, more, firing)
	}
	return where + first
}

// line is a notice as people read it.
func (n Notice) line() string {
	switch n.State {
	case Firing:
		return fmt.Sprintf("FIRING %s: %s: %s", n.Alert, n.Subject, n.Text)
	case Resolved:
		text := fmt.Sprintf("resolved %s: %s, after %s", n.Alert, n.Subject, inWords(n.At.Sub(n.Since).Seconds()))
		if n.Text != "" {
			text += ": " + n.Text
		}
		return text
	}
	return fmt.Sprintf("test of %s: nothing is wrong", n.Alert)
}

// text is the whole letter.
func (l letter) text() string {
	var b strings.Builder
	for _, n := range l.Notices {
		fmt.Fprintf(&b, "%s\n    since %s\n", n.line(), n.Since.Format(time.RFC1123))
	}
	if l.Left > 0 {
		fmt.Fprintf(&b, "… and %d more\n", l.Left)
	}
	return b.String()
}

// send delivers by one way within ctx.
func send(ctx context.Context, a *config.Alert, w way, l letter) error {
	switch w {
	case byWebhook:
		return sendWebhook(ctx, a.Webhook, l)
	case byCommand:
		return sendCommand(ctx, a.Command, l)
	}
	return sendEmail(ctx, a.Email, l)
}

// client has connections of its own, closed after each letter: there are few.
var client = &http.Client{
	Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, ResponseHeaderTimeout: attemptLimit},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

func sendWebhook(ctx context.Context, w *config.Webhook, l letter) error {
	var bodies []any
	switch w.Format {
	case "slack":
		bodies = []any{map[string]string{"text": l.headline() + "\n```" + l.text() + "```"}}
	case "pagerduty":
		for _, n := range l.Notices {
			bodies = append(bodies, pagerDuty(w, l, n))
		}
	default:
		bodies = []any{l}
	}
	for _, body := range bodies {
		if err := postJSON(ctx, w.URL.Reveal(), body); err != nil {
			return err
		}
	}
	return nil
}

// pagerDuty is an event of its Events API v2: the same key ends what it began,
// and a repetition is none.
func pagerDuty(w *config.Webhook, l letter, n Notice) any {
	action := "trigger"
	if n.State == Resolved {
		action = "resolve"
	}
	severity := "error"
	if n.State == Test {
		severity = "info"
	}
	return map[string]any{
		"routing_key": w.RoutingKey.Reveal(), "event_action": action, "dedup_key": strings.Join([]string{l.Daemon, l.Host, n.Alert, n.Subject}, "/"),
		"payload": map[string]any{"summary": n.line(), "source": l.Host, "severity": severity, "component": n.Subject, "group": l.Daemon, "timestamp": n.At.Format(time.RFC3339)},
	}
}

func postJSON(ctx context.Context, to string, body any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return permanent{err}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(text))
	if err != nil {
		return permanent{errors.New("the address cannot be used")} // its own words hold it
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // without the address, which may be a secret
		}
		return fmt.Errorf("post to the webhook: %w", err)
	}
	defer resp.Body.Close()
	said, _ := io.ReadAll(io.LimitReader(resp.Body, 200))
	if resp.StatusCode/100 == 2 {
		return nil
	}
	err = fmt.Errorf("webhook answers %s: %s", resp.Status, strings.Join(strings.Fields(string(said)), " "))
	if c := resp.StatusCode; c/100 != 5 && c != http.StatusTooManyRequests && c != http.StatusRequestTimeout {
		return permanent{err}
	}
	return err
}

// sendCommand runs a program with the letter as JSON on its stdin and the first
// notice in its environment, which holds nothing of the daemon's secrets.
func sendCommand(ctx context.Context, argv []string, l letter) error {
	text, err := json.Marshal(l)
	if err != nil {
		return permanent{err}
	}
	n := l.Notices[0]
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdin = bytes.NewReader(append(text, '\n'))
	cmd.Env = []string{"QSUPER_ALERT=" + n.Alert, "QSUPER_ALERT_STATE=" + n.State, "QSUPER_ALERT_SUBJECT=" + n.Subject, "QSUPER_ALERT_TEXT=" + l.headline()}
	for _, name := range []string{"PATH", "HOME", "LANG", "TZ"} {
		if v, ok := os.LookupEnv(name); ok {
			cmd.Env = append(cmd.Env, name+"="+v)
		}
	}
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = nil, &limitedBuffer{&said}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) } // it has not been waited for: the number is its own
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("takes longer than %s", attemptLimit)
		}
		return fmt.Errorf("run %s: %w: %s", argv[0], err, strings.Join(strings.Fields(said.String()), " "))
	}
	return nil
}

// limitedBuffer keeps the beginning and takes the rest.
type limitedBuffer struct{ b *bytes.Buffer }

// Write always succeeds, so that a talkative program is not ended by SIGPIPE.
func (l *limitedBuffer) Write(p []byte) (int, error) {
	if room := 300 - l.b.Len(); room > 0 {
		l.b.Write(p[:min(len(p), room)])
	}
	return len(p), nil
}
