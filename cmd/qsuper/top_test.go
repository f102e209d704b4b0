package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"qsuper/control"
)

var topNow = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

// liveView is a live view of a made-up fleet behind a real socket.
func liveView(t testing.TB, name string, width, height int) (*top, *fakeDaemon) {
	t.Helper()
	d := scenario(name, topNow)
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	c := serve(t, d)
	st, err := c.Status(ctx, control.StatusQuery{Slots: true})
	if err != nil {
		t.Fatal(err)
	}
	out, _, _ := paper(width)
	out.height = height
	return newTop(ctx, c, out, func() time.Time { return topNow }, st), d
}

// press sends keys, and carries out what they ask for except waiting.
func press(t *top, keys ...string) []tea.Cmd {
	var cmds []tea.Cmd
	for _, k := range keys {
		_, cmd := t.Update(keyOf(k))
		cmds = append(cmds, cmd)
	}
	return cmds
}

func keyOf(name string) tea.KeyPressMsg {
	codes := map[string]rune{"enter": tea.KeyEnter, "esc": tea.KeyEscape, "down": tea.KeyDown, "up": tea.KeyUp, "pgdown": tea.KeyPgDown, "pgup": tea.KeyPgUp,
		"home": tea.KeyHome, "end": tea.KeyEnd, "tab": tea.KeyTab, "backspace": tea.KeyBackspace, "left": tea.KeyLeft, "right": tea.KeyRight}
	if code, ok := codes[name]; ok {
		return tea.KeyPressMsg{Code: code}
	}
	if name == "space" {
		return tea.KeyPressMsg{Code: tea.KeySpace, Text: " "}
	}
	return tea.KeyPressMsg{Code: []rune(name)[0], Text: name}
}

func screenText(t *top) string {
	var b strings.Builder
	for _, l := range t.lines() {
		b.WriteString(strings.TrimRight(ansi.Strip(l), " ") + "\n")
	}
	return b.String()
}

// names are those of the rows in their order.
func rowNames(t *top) string {
	var all []string
	for _, r := range t.fleet.rows {
		all = append(all, r.Name)
	}
	return strings.Join(all, " ")
}

func TestTopLooksAsItDoes(t *testing.T) {
	for _, size := range [][2]int{{80, 24}, {200, 30}} {
		v, _ := liveView(t, "fleet", size[0], size[1])
		golden(t, fmt.Sprintf("top-fleet-%d.txt", size[0]), screenText(v))
		press(v, "?")
		golden(t, fmt.Sprintf("top-help-%d.txt", size[0]), screenText(v))
	}
	v, _ := liveView(t, "fleet", 80, 24)
	cmd := press(v, "down", "down", "down", "enter")[3]
	v.Update(cmd())
	golden(t, "top-why-80.txt", screenText(v))
	press(v, "esc", "home", "2")
	golden(t, "top-instances-80.txt", screenText(v))
}

// No screen may have a line too many or a column too many, however small it is:
// either would scroll the terminal.
func TestTopKeepsWithinItsScreen(t *testing.T) {
	for _, name := range []string{"fleet", "empty", "long", "unicode", "thousand", "fifty"} {
		v, _ := liveView(t, name, 80, 24)
		v.out.colour = true
		pages := []func(){
			func() {}, func() { press(v, "?") }, func() { press(v, "x") }, func() { press(v, "/", "o") },
			func() { v.take(looked{err: errors.New("no daemon answers")}) },
			func() {
				v.tab, v.subject, v.text.lines = tabLogs, "orders", []string{strings.Repeat("名", 300), "short"}
			},
			func() { v.tab = tabSlots; v.slots.set(v.instances(nil)) },
		}
		for i, page := range pages {
			v.help, v.prompt = false, nil
			page()
			for _, width := range []int{1, 2, 5, 19, 20, 21, 40, 79, 80, 81, 132, 200, 400} {
				for _, height := range []int{1, 2, 3, 6, 10, 24, 100} {
					v.Update(tea.WindowSizeMsg{Width: width, Height: height})
					lines := v.lines()
					if len(lines) != height {
						t.Errorf("%s, page %d at %dx%d: %d lines", name, i, width, height, len(lines))
					}
					for _, l := range lines {
						if w := ansi.StringWidth(l); w > width || strings.Contains(l, "\n") {
							t.Errorf("%s, page %d at %dx%d: %d columns in %q", name, i, width, height, w, l)
						}
					}
				}
			}
		}
	}
}

func TestTopSortsAndKeepsTheCursor(t *testing.T) {
	v, _ := liveView(t, "fleet", 200, 30)
	file := rowNames(v)
	press(v, "down", "down")
	at := v.fleet.at
	press(v, ">")
	sorted := strings.Fields(rowNames(v))
	if !slices.IsSorted(sorted) || rowNames(v) == file {
		t.Errorf("by name: %s", rowNames(v))
	}
	if v.fleet.at != at || v.fleet.current().Name != at {
		t.Errorf("the cursor went from %s to %s", at, v.fleet.at)
	}
	if !strings.Contains(screenText(v), "NAME▲") {
		t.Errorf("the column is not marked:\n%s", screenText(v))
	}
	press(v, "o")
	slices.Reverse(sorted)
	if rowNames(v) != strings.Join(sorted, " ") || !strings.Contains(screenText(v), "NAME▼") {
		t.Errorf("the other way round: %s", rowNames(v))
	}
	press(v, "<")
	if rowNames(v) != file {
		t.Errorf("not the order of the file: %s", rowNames(v))
	}
	press(v, ">", ">") // by state: trouble first
	if r := v.fleet.rows[0]; r.Healthy {
		t.Errorf("%s is on top, which is healthy", r.Name)
	}
	press(v, ">", ">")
	ready := func(r topRow) int64 {
		return orUnknown(r.Queue, func(q *control.QueueStatus) *int64 { return q.Ready })
	}
	if !slices.IsSortedFunc(v.fleet.rows, func(a, b topRow) int { return int(ready(b) - ready(a)) }) {
		t.Errorf("by depth: %s", rowNames(v))
	}
	v.Update(tea.WindowSizeMsg{Width: 60, Height: 24})
	if !strings.Contains(screenText(v), "READY▼") {
		t.Errorf("a column that is sorted by went away on a narrow screen:\n%s", screenText(v))
	}
}

func TestTopFilters(t *testing.T) {
	v, _ := liveView(t, "fifty", 80, 24)
	press(v, "/", "-", "1", "7")
	if rowNames(v) != "consumer-17" {
		t.Errorf("while it is typed: %s", rowNames(v))
	}
	press(v, "enter")
	if v.prompt != nil || rowNames(v) != "consumer-17" {
		t.Errorf("it was not kept: %s", rowNames(v))
	}
	press(v, "/", "x")
	if len(v.fleet.rows) != 0 || !strings.Contains(screenText(v), `nothing is found by "-17x"`) {
		t.Errorf("nothing should be found:\n%s", screenText(v))
	}
	press(v, "esc") // goes back to the filter before
	if rowNames(v) != "consumer-17" {
		t.Errorf("Esc while typing: %s", rowNames(v))
	}
	press(v, "esc")
	if len(v.fleet.rows) != 50 || v.fleet.at != "consumer-17" {
		t.Errorf("Esc leaves %d rows, cursor at %s", len(v.fleet.rows), v.fleet.at)
	}
	press(v, "/", "b", "a", "c", "k", "o", "f", "f", "enter")
	if rowNames(v) != "consumer-17" {
		t.Errorf("by state: %s", rowNames(v))
	}
}

// q, x and the like are text while a filter is typed.
func TestTopTypesIntoTheFilter(t *testing.T) {
	v, d := liveView(t, "fifty", 80, 24)
	for _, k := range []string{"/", "q", "x", "y", "?", "space"} {
		if cmd := press(v, k)[0]; cmd != nil {
			t.Errorf("%s did something", k)
		}
	}
	if v.prompt == nil || v.prompt.typed != "qxy? " || v.help || len(d.asked()) != 0 {
		t.Errorf("typed %+v", v.prompt)
	}
	v.Update(tea.PasteMsg{Content: "\x1b]0;evil\a\norders"})
	if v.prompt.typed != "qxy? ]0;evilorders" {
		t.Errorf("pasted: %q", v.prompt.typed)
	}
}

func TestTopAsksBeforeItActs(t *testing.T) {
	v, d := liveView(t, "fleet", 120, 24)
	d.do = func(_ context.Context, c control.Command) (control.CommandReply, error) {
		return control.CommandReply{Consumers: c.Names, Killed: 1, Outcomes: []control.Outcome{{Consumer: c.Names[0], Phase: "halted", Exit: &control.ExitStatus{Step: "kill"}}}}, nil
	}
	for _, no := range []string{"n", "enter", "esc", "space"} {
		press(v, "x")
		if !strings.Contains(screenText(v), "Stop "+v.fleet.at+"?") {
			t.Fatalf("no question:\n%s", screenText(v))
		}
		if cmd := press(v, no)[0]; cmd != nil || v.prompt != nil {
			t.Errorf("%s is no yes", no)
		}
	}
	press(v, "x")
	cmd := press(v, "y")[0]
	if !strings.Contains(screenText(v), "stopping "+v.fleet.at) {
		t.Errorf("nothing is said while it waits:\n%s", screenText(v))
	}
	v.Update(cmd())
	asked := d.asked()
	if len(asked) != 1 || asked[0].Verb != control.VerbStop || !slices.Equal(asked[0].Names, []string{v.fleet.at}) || !asked[0].Wait {
		t.Fatalf("asked %+v", asked)
	}
	if !strings.Contains(screenText(v), "1 of them had to be killed") {
		t.Errorf("the outcome is not told:\n%s", screenText(v))
	}
}

func TestTopActsOnMarkedRows(t *testing.T) {
	v, d := liveView(t, "fifty", 120, 24)
	d.do = nil
	press(v, "space", "down", "space", "n", "3", "q", "backspace")
	cmd := press(v, "enter")[0]
	v.Update(cmd())
	asked := d.asked()
	if len(asked) != 1 || asked[0].Verb != control.VerbScale || asked[0].Count != 3 || !slices.Equal(asked[0].Names, []string{"consumer-00", "consumer-02"}) {
		t.Fatalf("asked %+v", asked)
	}
	if len(v.fleet.marks) != 0 {
		t.Error("they are still marked")
	}
	press(v, "n", "x", "enter")
	if len(d.asked()) != 1 || !strings.Contains(screenText(v), `"x" is no number of instances`) {
		t.Errorf("x is no number:\n%s", screenText(v))
	}
	press(v, "i")
	press(v, "r", "n")
	press(v, "down", "r")
	v.Update(press(v, "y")[0]())
	if got := d.asked()[1]; got.Verb != control.VerbRestart || len(got.Names) != 1 || !strings.HasPrefix(got.Names[0], "consumer-03/") {
		t.Errorf("of an instance: %+v", got)
	}
}

// A thousand consumers must not cost a thousand drawn rows.
func TestTopDrawsWhatIsVisible(t *testing.T) {
	drawn := 0
	g := newGrid(func(n *int) string { return fmt.Sprint(*n) }, nil,
		gridColumn[int]{column{title: "N"}, func(_ statusView, n *int) cell { drawn++; return cell{text: fmt.Sprint(*n)} }, nil})
	all := make([]int, 1000)
	for i := range all {
		all[i] = i
	}
	g.set(all)
	out, _, _ := paper(80)
	for range 100 {
		g.move(7)
		if lines := g.draw(statusView{screen: out, now: topNow}, 20); len(lines) != 20 {
			t.Fatalf("%d lines", len(lines))
		}
	}
	if drawn != 100*19 {
		t.Errorf("%d cells for 100 screens of 19 rows", drawn)
	}
	if g.at != "700" || g.first+g.room <= g.cursor || g.first > g.cursor {
		t.Errorf("cursor at %s, %d rows from %d", g.at, g.room, g.first)
	}
}

func TestTopTellsWhenNobodyAnswers(t *testing.T) {
	v, _ := liveView(t, "fleet", 120, 24)
	before := rowNames(v)
	v.take(looked{err: &control.NoDaemon{Socket: "/run/q.sock"}})
	text := screenText(v)
	if !strings.Contains(text, "no daemon answers at /run/q.sock") || rowNames(v) != before {
		t.Errorf("it should say so and keep what it knows:\n%s", text)
	}
	st := v.st
	st.Consumers = st.Consumers[:1]
	v.take(looked{st: st})
	if text = screenText(v); strings.Contains(text, "no daemon answers") || !strings.Contains(text, "the daemon answers again") {
		t.Errorf("it is back:\n%s", text)
	}
	if rowNames(v) != st.Consumers[0].Name || v.fleet.at != st.Consumers[0].Name {
		t.Errorf("rows %s, cursor %s", rowNames(v), v.fleet.at)
	}
}

// What consumers print reaches the terminal as text, whatever it is.
func TestTopEscapesOutput(t *testing.T) {
	v, d := liveView(t, "fleet", 100, 24)
	v.out.colour = true
	d.logs = []control.LogLine{{Consumer: "orders", Text: "\x1b[31mred\x1b[0m \x1b]0;title\x07 \x1b[2J\x1b[H \r\x9b31m\x00" + strings.Repeat("z", 1<<20)}}
	cmd := v.open(tabLogs, "orders")
	eventually(t, "a line of output", func() bool {
		m, ok := cmd().(fed)
		if !ok {
			return false
		}
		cmd = v.read(m)
		return len(v.text.lines) > 0
	})
	line := v.text.lines[0]
	for _, evil := range []string{"\x1b]", "\x1b[2J", "\x1b[H", "\r", "\x00", "\x9b"} {
		if strings.Contains(line, evil) {
			t.Errorf("%q is in %q", evil, line[:200])
		}
	}
	if !strings.Contains(line, "\x1b[31mred") || !strings.Contains(line, `\x1b]0;title\x07`) {
		t.Errorf("not as it should be: %q", line[:200])
	}
	if len(line) > 4*feedClip {
		t.Errorf("a line of %d bytes is kept", len(line))
	}
}

func TestScrollFollowsUntilSomebodyReads(t *testing.T) {
	s := scroll{live: true}
	say := func(from, to int) {
		for i := from; i < to; i++ {
			s.add([]string{fmt.Sprint("line ", i)})
		}
	}
	say(0, 100)
	if got := s.draw(80, 10); got[9] != "line 99" {
		t.Errorf("not at the end: %q", got)
	}
	s.move(-20)
	was := s.draw(80, 10)[0]
	say(100, 300)
	if got := s.draw(80, 10)[0]; got != was || !s.away {
		t.Errorf("what is read went away: %q became %q", was, got)
	}
	say(300, 300+2*feedKeep)
	if len(s.lines) != feedKeep || len(s.draw(80, 10)) != 10 {
		t.Errorf("%d lines are kept", len(s.lines))
	}
	s.move(1 << 30)
	say(0, 1)
	if got := s.draw(80, 10); got[9] != "line 0" {
		t.Errorf("it does not follow again: %q", got)
	}
}

func TestUsageIsOfNow(t *testing.T) {
	u := usageBefore{}
	status := func(run uint64, seconds float64) control.Status {
		return control.Status{Consumers: []control.ConsumerStatus{{Name: "a", Slots: []control.SlotStatus{{PID: 7, Run: run, CPUSeconds: seconds, CPUPercent: 1}}}}}
	}
	k := slotKey{"a", 0}
	for i, c := range []struct {
		run     uint64
		seconds float64
		after   time.Duration
		want    float64
	}{
		{1, 100, 0, 1},                        // only the average over its life is known
		{1, 101, 2 * time.Second, 50},         // one second in two
		{1, 101, 2100 * time.Millisecond, 50}, // too soon to tell
		{1, 101, 4 * time.Second, 0},
		{2, 3, 5 * time.Second, 1}, // another process
		{2, 2, 6 * time.Second, 1}, // a child that is gone is not counted any more
	} {
		if got := u.shares(status(c.run, c.seconds), topNow.Add(c.after))[k]; got != c.want {
			t.Errorf("look %d: %g, expected %g", i, got, c.want)
		}
	}
	if u.shares(control.Status{}, topNow); len(u) != 0 {
		t.Error("those that are gone are remembered")
	}
}

func TestTopRefusesWhatIsNoTerminal(t *testing.T) {
	d := scenario("fleet", topNow)
	c := serve(t, d)
	code, _, stderr := run(nil, "top", "--socket", c.Socket())
	if code != exitUsage || !strings.Contains(stderr, `qsuper status --watch`) {
		t.Errorf("exit %d: %s", code, stderr)
	}
}

func BenchmarkTopOfAThousand(b *testing.B) {
	v, d := liveView(b, "thousand", 200, 50)
	st, err := d.Status(control.StatusQuery{Slots: true})
	if err != nil {
		b.Fatal(err)
	}
	v.tab, v.subject = tabSlots, "orders"
	for b.Loop() {
		v.take(looked{st: st})
		v.lines()
	}
}
