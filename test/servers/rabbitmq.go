package servers

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// RabbitMQEnv names a broker to use instead of starting one, so that all
// packages of a test run can share it: "amqp://user:password@host:port|http://host:port".
// Its user must be an administrator.
const RabbitMQEnv = "QSUPER_TEST_RABBITMQ"

// Rabbit is a running RabbitMQ with its management plugin. Statistics of the
// management API are at most half a second old.
type Rabbit struct {
	AMQPURL       string // amqp://guest:guest@127.0.0.1:port, vhost "/"
	ManagementURL string // http://127.0.0.1:port, without credentials

	user *url.Userinfo
	log  func() string
}

var (
	rabbitOnce sync.Once
	rabbit     *Rabbit
	rabbitErr  error
	vhosts     atomic.Int64
)

// RabbitMQ returns the broker of this test binary and starts it when first
// called, which takes 10 to 15 s. Tests must use a vhost of their own.
func RabbitMQ(tb testing.TB) *Rabbit {
	tb.Helper()
	rabbitOnce.Do(func() {
		if shared := os.Getenv(RabbitMQEnv); shared != "" {
			rabbit, rabbitErr = sharedRabbit(shared)
		} else {
			rabbit, rabbitErr = startRabbit()
		}
	})
	if rabbitErr != nil {
		tb.Fatalf("RabbitMQ: %v", rabbitErr)
	}
	return rabbit
}

func sharedRabbit(text string) (*Rabbit, error) {
	amqp, management, _ := strings.Cut(text, "|")
	u, err := url.Parse(amqp)
	if err != nil || u.User == nil || management == "" {
		return nil, fmt.Errorf("%s must be \"amqp://user:password@host:port|http://host:port\"", RabbitMQEnv)
	}
	r := &Rabbit{AMQPURL: strings.TrimRight(amqp, "/"), ManagementURL: strings.TrimRight(management, "/"), user: u.User}
	if err := r.call(http.MethodGet, "/api/overview", nil, nil); err != nil {
		return nil, fmt.Errorf("use the broker of %s: %w", RabbitMQEnv, err)
	}
	return r, nil
}

const rabbitServer = "/usr/lib/rabbitmq/bin/rabbitmq-server"

func startRabbit() (*Rabbit, error) {
	if err := require("rabbitmq-server", rabbitServer, "epmd", "setsid"); err != nil {
		return nil, err
	}
	p, err := ports(4)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "qsuper-rabbitmq-")
	if err != nil {
		return nil, err
	}
	if err := configureRabbit(dir, p); err != nil {
		return nil, err
	}
	// epmd in the foreground and under a guard: the one that a node starts by
	// itself is a daemon and outlives everything.
	epmdDir, err := os.MkdirTemp("", "qsuper-epmd-")
	if err != nil {
		return nil, err
	}
	if _, err := start(epmdDir, true, []string{"PATH=/usr/bin:/bin"}, "epmd", "-port", fmt.Sprint(p[3]), "-address", "127.0.0.1"); err != nil {
		return nil, err
	}
	s, err := start(dir, true, rabbitEnv(dir, p), rabbitServer)
	if err != nil {
		return nil, err
	}
	r := &Rabbit{
		AMQPURL:       fmt.Sprintf("amqp://guest:guest@127.0.0.1:%d", p[0]),
		ManagementURL: fmt.Sprintf("http://127.0.0.1:%d", p[1]),
		user:          url.UserPassword("guest", "guest"),
		log:           s.log,
	}
	return r, s.await("RabbitMQ", 300*time.Second, func() bool {
		// AMQP comes last, after the plugins.
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", p[0]))
		if err != nil {
			return false
		}
		c.Close()
		return r.call(http.MethodGet, "/api/overview", nil, nil) == nil
	})
}

func configureRabbit(dir string, ports []int) error {
	conf := strings.Join([]string{
		fmt.Sprintf("listeners.tcp.default = 127.0.0.1:%d", ports[0]),
		"management.tcp.ip = 127.0.0.1",
		fmt.Sprintf("management.tcp.port = %d", ports[1]),
		"collect_statistics_interval = 500",
		"log.console = true", "log.file = false", "",
	}, "\n")
	if err := os.WriteFile(filepath.Join(dir, "rabbitmq.conf"), []byte(conf), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "enabled_plugins"), []byte("[rabbitmq_management].\n"), 0o644)
}

func rabbitEnv(dir string, ports []int) []string {
	return []string{
		"PATH=/usr/bin:/bin", "HOME=" + dir, "LANG=C.UTF-8",
		fmt.Sprintf("RABBITMQ_NODENAME=qsuper%d@localhost", ports[0]),
		fmt.Sprintf("RABBITMQ_DIST_PORT=%d", ports[2]),
		fmt.Sprintf("ERL_EPMD_PORT=%d", ports[3]),
		"ERL_EPMD_ADDRESS=127.0.0.1",
		// Without this the distribution port listens on every address.
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-start_epmd false -kernel inet_dist_use_interface {127,0,0,1}",
		"RABBITMQ_MNESIA_BASE=" + dir + "/mnesia",
		"RABBITMQ_LOG_BASE=" + dir + "/logs", "RABBITMQ_LOGS=-",
		"RABBITMQ_ENABLED_PLUGINS_FILE=" + dir + "/enabled_plugins",
		"RABBITMQ_CONFIG_FILE=" + dir + "/rabbitmq.conf",
		"RABBITMQ_CONF_ENV_FILE=/dev/null",
		"RABBITMQ_PID_FILE=" + dir + "/pid",
	}
}

// NewVhost makes an empty vhost for the test and returns the AMQP URL of it;
// the vhost is deleted when the test ends.
func (r *Rabbit) NewVhost(tb testing.TB) string {
	tb.Helper()
	name := fmt.Sprintf("t%d-%d", os.Getpid(), vhosts.Add(1))
	r.API(tb, http.MethodPut, "/api/vhosts/"+name, nil, nil)
	r.API(tb, http.MethodPut, "/api/permissions/"+name+"/"+r.user.Username(), map[string]string{"configure": ".*", "write": ".*", "read": ".*"}, nil)
	tb.Cleanup(func() { r.API(tb, http.MethodDelete, "/api/vhosts/"+name, nil, nil) })
	return r.AMQPURL + "/" + name
}

// NewUser makes a user that may do in a vhost (the end of a URL that NewVhost
// returned) what the pattern allows, and is known to the management API; it is
// deleted when the test ends.
func (r *Rabbit) NewUser(tb testing.TB, vhostURL, name, password, pattern string) {
	tb.Helper()
	vhost := vhostURL[strings.LastIndex(vhostURL, "/")+1:]
	r.API(tb, http.MethodPut, "/api/users/"+name, map[string]string{"password": password, "tags": "monitoring"}, nil)
	r.API(tb, http.MethodPut, "/api/permissions/"+vhost+"/"+name, map[string]string{"configure": pattern, "write": pattern, "read": pattern}, nil)
	tb.Cleanup(func() { r.API(tb, http.MethodDelete, "/api/users/"+name, nil, nil) })
}

// API calls the management API as an administrator; in and out are JSON and may
// be nil. Anything but a 2xx answer ends the test.
func (r *Rabbit) API(tb testing.TB, method, path string, in, out any) {
	tb.Helper()
	if err := r.call(method, path, in, out); err != nil {
		tb.Fatalf("RabbitMQ: %v", err)
	}
}

// Log returns the end of the broker's log, "" for a shared broker.
func (r *Rabbit) Log() string {
	if r.log == nil {
		return ""
	}
	return r.log()
}

func (r *Rabbit) call(method, path string, in, out any) error {
	var body bytes.Buffer
	if in != nil {
		if err := json.NewEncoder(&body).Encode(in); err != nil {
			return err
		}
	}
	req, err := http.NewRequest(method, r.ManagementURL+path, &body)
	if err != nil {
		return err
	}
	password, _ := r.user.Password()
	req.SetBasicAuth(r.user.Username(), password)
	req.Header.Set("Content-Type", "application/json")
	// No connection is kept: tests count what is open.
	client := http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, answer)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(answer, out)
}
