package backends_test

import (
	"database/sql"
	"fmt"
	"strings"
	"testing"
	"time"

	"qsuper/health"
)

// asked is one look with questions, which has to find the connection up.
func asked(t *testing.T, s health.Spec, questions ...health.Question) []health.Answer {
	t.Helper()
	p := health.NewProbe("test", s, 10*time.Second)
	defer p.Close(t.Context())
	o := p.Look(t.Context(), nil, questions...)
	if !o.Up || len(o.Answers) != len(questions) {
		t.Fatalf("%+v", o)
	}
	return o.Answers
}

// testRows are questions to a database: the one row counts whole, no row is none, and
// nothing can be written.
func (r *sqlRig) testRows(t *testing.T, s health.Spec) {
	const none = " WHERE 1 = 0"
	questions := []string{
		"SELECT 'version-1' AS version;", "SELECT 'version-1', 2 AS n", "SELECT 'version-1', NULL AS n", "SELECT NULL AS n", "SELECT COUNT(*) FROM messages",
		"SELECT body FROM messages" + none, "SELECT 1 AS n UNION ALL SELECT 2", "SELECT n FROM no_such_table", "DELETE FROM messages", "SELECT '' AS n", "SELECT 'version-1' AS version;",
	}
	var list []health.Question
	for _, q := range questions {
		list = append(list, health.Question{SQL: q})
	}
	got := asked(t, s, list...)
	want := []health.State{health.OK, health.OK, health.OK, health.Missing, health.OK, health.Missing, health.Unknown, health.Unknown, health.Unknown, health.OK, health.OK}
	texts := map[string]string{}
	for i, a := range got {
		if a.State != want[i] || (a.State == health.Unknown) != (a.Err != "") || (a.State == health.OK) != (a.Text != "") {
			t.Errorf("%s: %+v", questions[i], a)
		}
		if before, same := texts[a.Text]; same && a.State == health.OK && before != questions[i] {
			t.Errorf("%q and %q look alike: %s", before, questions[i], a.Text)
		}
		texts[a.Text] = questions[i]
	}
}

func TestRedisStrings(t *testing.T) {
	r := newRedisRig(t)
	r.do("SET", "tell:string", "1700000000")
	r.do("RPUSH", "tell:list", "x")
	held := asked(t, r.plain(t), health.Question{Held: "tell:list"}, health.Question{Held: "tell:none"})
	if held[0].State != health.OK || held[1].State != health.Missing {
		t.Errorf("%+v", held)
	}
	got := asked(t, r.plain(t), health.Question{Key: "tell:string"}, health.Question{Key: "tell:none"}, health.Question{Key: "tell:list"}, health.Question{Key: "tell:string"})
	if got[0] != (health.Answer{State: health.OK, Text: "1700000000"}) || got[3] != got[0] || got[1] != (health.Answer{State: health.Missing}) || got[2].State != health.Unknown || got[2].Err == "" {
		t.Errorf("%+v", got)
	}
}

// testLocks are questions for locks: one statement for many, of which one cannot be.
func (r *sqlRig) testLocks(t *testing.T, s health.Spec, db *sql.DB) {
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var got, id int
	if err := conn.QueryRowContext(t.Context(), "SELECT GET_LOCK('shop|a', 0), CONNECTION_ID()").Scan(&got, &id); err != nil || got != 1 {
		t.Fatal(got, err)
	}
	questions := []health.Question{{Lock: "shop|a"}, {Lock: "shop|b"}, {SQL: "SELECT 1"}, {Lock: strings.Repeat("x", 300)}}
	for i := range 500 {
		questions = append(questions, health.Question{Lock: fmt.Sprint("shop|", i)})
	}
	for i, a := range asked(t, s, questions...) {
		want := health.Missing
		switch i {
		case 0:
			if a != (health.Answer{State: health.OK, Text: fmt.Sprintf("session %d", id)}) {
				t.Errorf("%+v", a)
			}
			continue
		case 2:
			want = health.OK
		case 3:
			want = health.Unknown
		}
		if a.State != want {
			t.Errorf("%d: %+v", i, a)
		}
	}
}
