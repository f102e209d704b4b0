package backends_test

import (
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
	got := asked(t, r.plain(t), health.Question{Key: "tell:string"}, health.Question{Key: "tell:none"}, health.Question{Key: "tell:list"}, health.Question{Key: "tell:string"})
	if got[0] != (health.Answer{State: health.OK, Text: "1700000000"}) || got[3] != got[0] || got[1] != (health.Answer{State: health.Missing}) || got[2].State != health.Unknown || got[2].Err == "" {
		t.Errorf("%+v", got)
	}
}
