package test

import (
	"fmt"
	"strings"
	"testing"
)

// second adds a consumer like "orders" to a file, with a queue of its own name.
func second(file, name string, keys ...string) string {
	_, orders, _ := strings.Cut(file, "  orders:\n")
	other := strings.NewReplacer("name: orders", "name: "+name, "TEST_QUEUE: orders", "TEST_QUEUE: "+name).Replace(orders)
	for _, k := range keys {
		other += "    " + k + "\n"
	}
	return file + "  " + name + ":\n" + other
}

// Four places for two consumers that would have four each: the one with the higher
// priority gets them as they become free, and the other one has them again when the
// first is done. No message is cut off for it.
func TestBudgetGoesByPriority(t *testing.T) {
	const messages, urgent = 300, 150
	q := newQueue(t)
	q.ms, q.most = 100, 5
	file := "  budget: {processes: 4}\n" + second(q.file("instances: {min: 0, max: 4, cooldown: 500ms}", "idle_timeout: 500ms"), "urgent", "priority: 10")
	q.publish(messages)
	d := startDaemon(t, file)
	d.UntilRunning("orders", 4)
	if _, err := q.db.Exec(fmt.Sprintf("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) INSERT INTO messages (queue, body) SELECT 'urgent', '' FROM n", urgent)); err != nil {
		t.Fatal(err)
	}
	most := 0
	watch := func() (orders, first int) {
		var s statusJSON
		d.JSON(&s, "status")
		for _, c := range s.Consumers {
			if c.Name == "orders" {
				orders = c.Running
			} else {
				first = c.Running
			}
		}
		most = max(most, orders+first)
		return orders, first
	}
	eventually(t, patience, "urgent has all places", func() bool { orders, first := watch(); return first == 4 && orders == 0 })
	var why explainJSON
	d.JSON(&why, "explain", "orders")
	if g := why.Gate("budget"); g.State != "closed" || !strings.Contains(g.Evidence, "0 instances of the 4 it would have") || !strings.Contains(g.Evidence, "urgent 4") {
		t.Errorf("explain: %+v", g)
	}
	eventually(t, patience, "orders has its places again", func() bool { orders, first := watch(); return orders == 4 && first == 0 })
	eventually(t, patience, "all messages are handled", func() bool { watch(); return q.left() == 0 })
	d.StopAll()
	if most > 4 {
		t.Errorf("%d instances ran at once", most)
	}
	q.handled().once(t, messages+urgent)
	q.processes().runs(t)
}
