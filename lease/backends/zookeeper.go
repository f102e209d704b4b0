package backends

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"qsuper/internal/kind"
	"qsuper/lease"
)

// zookeeperConfig is `type: zookeeper`, version 3.5 or later.
type zookeeperConfig struct {
	Servers      []string    `yaml:"servers,required"` // host:2181; asked in turn
	Chroot       string      `yaml:"chroot"`           // the node under which everything is; default: the root
	User         string      `yaml:"user"`             // scheme digest
	Password     kind.Secret `yaml:"password"`         // of the user
	PasswordFile kind.Path   `yaml:"password_file"`    // file with the password, instead of one in the file
	TLS          kind.TLS    `yaml:"tls"`              // for a server with TLS
}

func init() {
	lease.Register(lease.Kind{Type: "zookeeper"}, zookeeperConfig{}, openZooKeeper)
}

// Validate says what is wrong with the servers.
func (c *zookeeperConfig) Validate() error {
	if len(c.Servers) == 0 {
		return errors.New("servers is empty: give one or more, such as 127.0.0.1:2181")
	}
	for _, s := range c.Servers {
		if host, port, err := net.SplitHostPort(s); err != nil || host == "" || port == "" {
			return errors.New("servers must look like host:2181, one each; the path behind a connection string is chroot")
		}
	}
	bad := c.Chroot != "" && (!strings.HasPrefix(c.Chroot, "/") || strings.HasSuffix(c.Chroot, "/") || strings.Contains(c.Chroot, "//"))
	switch {
	case bad:
		return errors.New("chroot must be a path such as /apps/shop")
	case c.User == "" && (c.Password.Reveal() != "" || c.PasswordFile != ""):
		return errors.New("password needs a user")
	case strings.Contains(c.User, ":"):
		return errors.New("user must not contain a colon")
	}
	return nil
}

func openZooKeeper(c zookeeperConfig, p lease.Place) (lease.Store, error) {
	z := &zookeeper{config: c, base: c.Chroot + "/qsuper/" + zkName(p.Namespace), ttl: p.TTL}
	z.life, z.stop = context.WithCancel(context.Background())
	return hide(z, z.secrets), nil
}

// zookeeper keeps a lease as two nodes. One stays: it says whose the lease is, and
// its version, which each grant raises, guards every change against one that another
// host has made meanwhile. The other lies below it and is ephemeral: it is there as
// long as the session of the host. Its creation's transaction id is the token.
//
// A session is a connection. Whenever something goes wrong with one, a new one is
// begun, to which the nodes are handed over: what the servers know of the age of a
// session is never older than the renewal before the last.
type zookeeper struct {
	config  zookeeperConfig
	base    string
	ttl     time.Duration
	at      int        // server that answered last
	session *zkSession // nil: none
	used    time.Time  // when it answered last
	seen    int64      // newest transaction id
	made    bool       // the nodes above all others are there
	unsure  bool       // a Take was not answered: there may be leases that nobody wants
	swept   time.Time  // when claims that have run out were deleted last
	read    []string   // passwords that were read
	life    context.Context
	stop    context.CancelFunc
}

// zkSlot is what lies in the node that stays.
type zkSlot struct {
	Owner string `json:"owner"` // "" = it was given back properly
	Value []byte `json:"value,omitempty"`
	Keep  int64  `json:"keep,omitempty"` // of a claim: ms, from when the node was changed
}

// zkHold is what lies in the ephemeral one.
type zkHold struct {
	Token int64 `json:"token,omitempty"` // 0: when it was made
	Since int64 `json:"since,omitempty"` // likewise; Unix ms
}

// zkName makes a name of one node.
func zkName(text string) string { return url.PathEscape(text) }

func (z *zookeeper) secrets() []string {
	return append([]string{z.config.Password.Reveal()}, z.read...)
}

func (z *zookeeper) leases() string { return z.base + "/leases" }

// claims is where claims lie whose keys begin in a way.
func (z *zookeeper) claims(prefix string) string {
	return z.base + "/" + strings.TrimSuffix(prefix, "/") + "s"
}

func (z *zookeeper) path(key string) string { return z.leases() + "/" + zkName(key) }

const hold = "/holder"

// sessionFor is how long servers must keep a session without hearing of it: what
// the last renewal has told may be lost with a server, and what the one before has
// told is a third of the lease older.
func sessionFor(ttl time.Duration) time.Duration { return (ttl + ttl/3).Truncate(time.Millisecond) }

// connect makes sure that there is a session which the servers have heard of lately.
func (z *zookeeper) connect(ctx context.Context) error {
	if z.session != nil && time.Since(z.used) > z.ttl*2/5 {
		z.drop()
	}
	if z.session != nil {
		return nil
	}
	secure, err := z.config.TLS.Config()
	if err != nil {
		return err
	}
	for range z.config.Servers {
		var s *zkSession
		server := z.config.Servers[z.at%len(z.config.Servers)]
		if s, err = zkDial(ctx, server, secure, sessionFor(z.ttl), z.seen); err == nil {
			return z.adopt(ctx, s)
		}
		if ctx.Err() != nil {
			break
		}
		z.at++
	}
	z.at++
	return err
}

func (z *zookeeper) adopt(ctx context.Context, s *zkSession) error {
	if need := sessionFor(z.ttl); s.timeout < need {
		_ = s.conn.Close()
		return fmt.Errorf("the servers keep a session for %s at most, and ttl %s needs %s: shorten the ttl, or raise maxSessionTimeout", s.timeout, z.ttl, need)
	}
	if z.config.User != "" {
		password, err := z.password()
		if err == nil {
			done := s.until(ctx)
			err = s.login(z.config.User, password)
			done()
		}
		if err != nil {
			_ = s.conn.Close()
			return fmt.Errorf("log in: %w", err)
		}
	}
	z.session, z.used = s, time.Now()
	return nil
}

func (z *zookeeper) drop() {
	if z.session != nil {
		_ = z.session.conn.Close()
		z.session = nil
	}
}

// do makes operations in one round trip.
func (z *zookeeper) do(ctx context.Context, ops ...zkOp) ([]zkReply, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(z.life, cancel)()
	if z.life.Err() != nil {
		return nil, errors.New("the connection is closed")
	}
	if err := z.connect(ctx); err != nil {
		return nil, err
	}
	if len(ops) == 0 {
		return nil, nil
	}
	done := z.session.until(ctx)
	replies, err := z.session.do(ops)
	done()
	z.seen = max(z.seen, z.session.seen)
	if err != nil {
		z.drop()
		return nil, err
	}
	z.used = time.Now()
	for _, r := range replies {
		if r.err == zkNoAuth {
			return nil, fmt.Errorf("%s: %w", z.base, r.err)
		}
	}
	return replies, nil
}

// prepare makes the nodes above all others. Those that are there may be of a user who
// must not be asked to make them.
func (z *zookeeper) prepare(ctx context.Context) error {
	if z.made {
		return nil
	}
	var paths []string
	for _, leaf := range []string{z.leases(), z.claims(lease.OrderPrefix), z.claims(lease.JobPrefix)} {
		for i := 1; i <= len(leaf); i++ {
			if path := leaf[:i]; (i == len(leaf) || leaf[i] == '/') && !slices.Contains(paths, path) {
				paths = append(paths, path)
			}
		}
	}
	missing := func() (ops []zkOp, err error) {
		var looks []zkOp
		for _, path := range paths {
			looks = append(looks, zkOp{op: zkExists, path: path})
		}
		found, err := z.do(ctx, looks...)
		for i, r := range found {
			if r.err != 0 {
				ops = append(ops, zkOp{op: zkCreate, path: paths[i]})
			}
		}
		return ops, err
	}
	ops, err := missing()
	if err == nil {
		_, err = z.do(ctx, ops...)
	}
	if err == nil {
		ops, err = missing()
	}
	if err == nil && len(ops) > 0 {
		err = fmt.Errorf("the server does not let %s be made", ops[0].path)
	}
	z.made = err == nil
	return err
}

// Close implements lease.Store. The session goes on until the servers end it, so
// that the next engine of this host finds its leases.
func (z *zookeeper) Close() error {
	z.stop()
	return nil
}

// password is read for every login, so that a rotated one counts.
func (z *zookeeper) password() (string, error) {
	if z.config.PasswordFile == "" {
		return z.config.Password.Reveal(), nil
	}
	b, err := os.ReadFile(string(z.config.PasswordFile))
	if err != nil {
		return "", fmt.Errorf("read password_file: %w", err)
	}
	text := string(bytes.TrimRight(b, "\r\n"))
	z.read = append(z.read[:min(len(z.read), 1)], text)
	return text, nil
}
