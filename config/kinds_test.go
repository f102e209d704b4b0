package config

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"time"

	"qsuper/health"
	"qsuper/internal/kind"
	"qsuper/lease"
)

// The connection types of the reference as far as the file is concerned. The
// real ones are in health/backends, which this package must not import.
func init() {
	sqlKeys := []string{"name", "table", "query"}
	sqlLayouts := []string{"plain", "magento", "symfony", "laravel"}
	checkSQL := func(q health.Queue) error {
		if q.SQL != "" && !strings.HasPrefix(strings.ToUpper(q.SQL), "SELECT") {
			return errors.New("query must be a SELECT")
		}
		return nil
	}
	health.Register(health.Kind{Type: "rabbitmq", Holder: true, QueueKeys: []string{"name"}}, rabbitKind{Interval: 5e9}, openRabbit)
	health.Register(health.Kind{Type: "mysql", InFlightNow: true, Asked: []string{"query", "lock"}, QueueKeys: sqlKeys, Layouts: sqlLayouts, CheckQueue: checkSQL}, mysqlKind{}, open[mysqlKind])
	health.Register(health.Kind{Type: "postgres", InFlightNow: true, Asked: []string{"query"}, QueueKeys: sqlKeys, Layouts: []string{"plain", "symfony", "laravel"}, CheckQueue: checkSQL}, postgresKind{}, open[postgresKind])
	health.Register(health.Kind{Type: "redis", Asked: []string{"key"}, QueueKeys: []string{"name", "prefix", "group"}, Layouts: []string{"list", "stream", "laravel", "symfony"}}, redisKind{}, open[redisKind])
	for typ, keys := range map[string][]string{"nats": {"name", "group"}, "kafka": {"name", "group"}, "beanstalkd": {"name"}, "sqs": {"name"}, "prometheus": {"name", "query"}} {
		health.Register(health.Kind{Type: typ, QueueKeys: keys}, anyKind{}, open[anyKind])
	}
	health.Register(health.Kind{Type: "sqlite", InFlightNow: true, Asked: []string{"query"}, QueueKeys: sqlKeys, Layouts: sqlLayouts, CheckQueue: checkSQL}, sqliteKind{}, open[sqliteKind])
	health.Register(health.Kind{Type: "http", QueueKeys: []string{"name", "path", "value"}}, httpKind{Expect: 200, Timeout: kind.Duration(5e9)}, open[httpKind])
	health.Register(health.Kind{Type: "zookeeper", Asked: []string{"node"}}, zookeeperKind{}, open[zookeeperKind])
	health.Register(health.Kind{Type: "tcp"}, tcpKind{}, open[tcpKind])
	health.Register(health.Kind{Type: "exec", QueueKeys: []string{"name"}}, execKind{}, open[execKind])
}

func init() {
	lease.Register(lease.Kind{Type: "mysql", Forgets: true}, databaseLock{Table: "qsuper_leases", Mode: "rows"}, openLock[databaseLock])
	lease.Register(lease.Kind{Type: "redis", Forgets: true}, redisLock{}, openLock[redisLock])
	lease.Register(lease.Kind{Type: "etcd"}, etcdLock{}, openLock[etcdLock])
}

func openLock[C any](C, lease.Place) (lease.Store, error) {
	return nil, errors.New("not for opening")
}

type databaseLock struct {
	Connection string `yaml:"connection,required"`
	Table      string `yaml:"table"`
	Mode       string `yaml:"mode" oneof:"rows session"`
}

type redisLock struct {
	Connection string `yaml:"connection,required"`
}

type etcdLock struct {
	Endpoints []string `yaml:"endpoints,required"`
}

func open[C any](C) (health.Conn, error) { return nil, errors.New("not for opening") }

type rabbitKind struct {
	URL           kind.Secret `yaml:"url,required"`
	ManagementURL kind.Secret `yaml:"management_url"`
	PasswordFile  kind.Path   `yaml:"password_file"`
	TLS           kind.TLS    `yaml:"tls"`

	Interval kind.Duration `yaml:"statistics_interval"`
}

// clerk tells of clients where there is a management_url.
type clerk struct{ lag time.Duration }

func openRabbit(c rabbitKind) (health.Conn, error) {
	if c.ManagementURL.IsZero() {
		return clerk{}, nil
	}
	return clerk{time.Second}, nil
}

func (c clerk) Ping(context.Context) error { return nil }
func (c clerk) Close() error               { return nil }
func (c clerk) Lag() time.Duration         { return c.lag }
func (c clerk) Held(context.Context, []netip.AddrPort) (int64, error) {
	return 0, errors.New("not for asking")
}

type mysqlKind struct {
	DSN         kind.Secret `yaml:"dsn,required"`
	TablePrefix string      `yaml:"table_prefix"`
}

type postgresKind struct {
	URL          kind.Secret `yaml:"url,required"`
	PasswordFile kind.Path   `yaml:"password_file"`
	TablePrefix  string      `yaml:"table_prefix"`
	TLS          kind.TLS    `yaml:"tls"`
}

type redisKind struct {
	URL          kind.Secret `yaml:"url,required"`
	PasswordFile kind.Path   `yaml:"password_file"`
	TLS          kind.TLS    `yaml:"tls"`
}

// anyKind has the keys of several types, whose own checks are in health/backends.
type anyKind struct {
	URL       string        `yaml:"url"`
	Address   string        `yaml:"address"`
	Brokers   []string      `yaml:"brokers"`
	User      string        `yaml:"user"`
	Password  kind.Secret   `yaml:"password"`
	SASL      string        `yaml:"sasl"`
	Region    string        `yaml:"region"`
	AccessKey string        `yaml:"access_key_id"`
	Secret    kind.Secret   `yaml:"secret_access_key"`
	Refresh   kind.Duration `yaml:"refresh"`
}

type sqliteKind struct {
	Path kind.Path `yaml:"path,required"`
}

type httpKind struct {
	URL     string        `yaml:"url,required"`
	Expect  int           `yaml:"expect" min:"100" max:"599"`
	Timeout kind.Duration `yaml:"timeout"`
}

// Validate says what tags cannot.
func (k *httpKind) Validate() error {
	if !strings.HasPrefix(k.URL, "http://") && !strings.HasPrefix(k.URL, "https://") {
		return errors.New("url must start with http:// or https://")
	}
	return nil
}

type zookeeperKind struct {
	Servers []string `yaml:"servers,required"`
}

type tcpKind struct {
	Address string `yaml:"address,required"`
}

type execKind struct {
	Command []string `yaml:"command,required"`
}
