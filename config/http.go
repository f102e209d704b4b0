package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strconv"

	"qsuper/internal/kind"
	"qsuper/internal/pattern"
)

// shortestToken is where guessing a token over the network becomes hopeless.
const shortestToken = 16

// longestToken bounds what is read of a token file.
const longestToken = 4096

var hostName = pattern.Lazy(`^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$`)

// http checks `daemon.http`: an address needs a token, and a token an address.
func (l *loader) http(h *HTTP, at *kind.Node) {
	here := at.Get("http")
	if here == nil {
		return
	}
	listen := here.Value.Get("listen")
	if listen != nil && h.Listen == "" {
		return // switched off
	}
	if listen == nil {
		l.add(here.Value, "daemon.http.listen", "is missing").Hint = `give an address such as "127.0.0.1:9180"`
	} else if err := checkListen(h.Listen); err != nil {
		l.add(place(at, "http", "listen"), "daemon.http.listen", "%v", err).Hint = `use host:port, such as "127.0.0.1:9180"`
	}
	if h.TokenFile == "" {
		l.add(here.Value, "daemon.http.token_file", "is missing: nothing listens on TCP without a token").Hint =
			"make one with  (umask 077; head -c 24 /dev/urandom | base64 > /etc/qsuper/token)"
	}
	for i, name := range h.Hosts {
		if !hostName().MatchString(name) {
			l.add(place(at, "http", "hosts"), fmt.Sprintf("daemon.http.hosts[%d]", i), "%s is not a host name", kind.Quote(name)).Hint = "leave out scheme and port"
		}
	}
}

// same compares what counts: a list that is not written is an empty one.
func (h HTTP) same(o HTTP) bool {
	return h.Listen == o.Listen && h.TokenFile == o.TokenFile && slices.Equal(h.Hosts, o.Hosts)
}

func checkListen(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("%s is not an address with a port", kind.Quote(address))
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return fmt.Errorf("port %s is not a number from 1 to 65535", kind.Quote(port))
	}
	if host != "" && net.ParseIP(host) == nil && !hostName().MatchString(host) {
		return fmt.Errorf("%s is neither an IP address nor a host name", kind.Quote(host))
	}
	return nil
}

// ReadToken reads the token that lets into `daemon.http`: the file's content
// without white space around it, at least 16 printable ASCII characters. A file that others
// than its owner and group may read is refused, for then it is no secret.
func ReadToken(path string) (kind.Secret, error) {
	data, err := readFile(path)
	if err != nil {
		return kind.Secret{}, fmt.Errorf("token file %s %w", path, err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return kind.Secret{}, fmt.Errorf("token file %s %w", path, plain(err))
	}
	if info.Mode().Perm()&0o007 != 0 {
		return kind.Secret{}, fmt.Errorf("token file %s is open to everybody (mode %04o): run chmod 640 %[1]s", path, info.Mode().Perm()&fs.ModePerm)
	}
	token := bytes.TrimSpace(data)
	if len(token) < shortestToken || len(token) > longestToken {
		return kind.Secret{}, fmt.Errorf("token file %s holds %d characters: at least %d are needed, and at most %d allowed", path, len(token), shortestToken, longestToken)
	}
	if bytes.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return kind.Secret{}, fmt.Errorf("token file %s: %w", path, errors.New("white space within the token, or a character beyond ASCII"))
	}
	return kind.NewSecret(string(token)), nil
}
