package servers

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
)

// PgBouncer starts a pooler in front of s; mode is session, transaction or statement.
// It lets everybody in as the user postgres.
func (s *Postgres) PgBouncer(tb testing.TB, mode string) *Small {
	tb.Helper()
	if err := require("pgbouncer", "pgbouncer", "setpriv"); err != nil {
		tb.Fatal(err)
	}
	host, port, err := net.SplitHostPort(s.Addr)
	if err != nil {
		tb.Fatal(err)
	}
	return startSmall(tb, "pgbouncer", func(b *Small, own int) []string {
		ini := filepath.Join(b.dir, "pgbouncer.ini")
		text := fmt.Sprintf("[databases]\n* = host=%s port=%s user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = %d\nunix_socket_dir =\nauth_type = any\npool_mode = %s\n",
			host, port, own, mode)
		if err := os.WriteFile(ini, []byte(text), 0o644); err != nil {
			tb.Fatal(err)
		}
		if err := give(b.dir); err != nil {
			tb.Fatal(err)
		}
		return unprivileged("pgbouncer", ini)
	})
}
