package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mattn/go-runewidth"

	"qsuper/control"
)

func atNoon() time.Time { return noon }

func TestStatusGolden(t *testing.T) {
	for _, tc := range []struct {
		name, scenario string
		width          int
		verbose        bool
		change         func(*screen)
	}{
		{name: "one-80", scenario: "one", width: 80},
		{name: "empty-80", scenario: "empty", width: 80},
		{name: "fleet-40", scenario: "fleet", width: 40},
		{name: "fleet-80", scenario: "fleet", width: 80},
		{name: "fleet-120", scenario: "fleet", width: 120},
		{name: "fleet-pipe", scenario: "fleet"},
		{name: "fleet-verbose-80", scenario: "fleet", width: 80, verbose: true},
		{name: "fleet-verbose-pipe", scenario: "fleet", verbose: true},
		{name: "fleet-colour-80", scenario: "fleet", width: 80, change: func(s *screen) { s.colour = true }},
		{name: "fleet-ascii-80", scenario: "fleet", width: 80, change: func(s *screen) { s.ascii = true }},
		{name: "long-80", scenario: "long", width: 80},
		{name: "long-160", scenario: "long", width: 160},
		{name: "fifty-80", scenario: "fifty", width: 80},
		{name: "unicode-80", scenario: "unicode", width: 80},
		{name: "unicode-pipe", scenario: "unicode"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := serve(t, scenario(tc.scenario, noon))
			out, text, _ := paper(tc.width)
			if tc.change != nil {
				tc.change(out)
			}
			err := runStatus(context.Background(), c, statusOptions{verbose: tc.verbose}, out, atNoon)
			healthy := tc.scenario == "one" || tc.scenario == "empty"
			if code := exitCode(err); (code == exitDone) != healthy || !healthy && code != exitUnhealthy {
				t.Errorf("exit code %d: %v", code, err)
			}
			golden(t, "status-"+tc.name+".txt", text.String())
		})
	}
}

// TestNothingWraps: on no terminal of 40 columns or more is a line of a table too long.
func TestNothingWraps(t *testing.T) {
	for _, name := range []string{"one", "empty", "fleet", "long", "fifty", "unicode"} {
		st := scenario(name, noon).status
		for width := 40; width <= 200; width++ {
			out, text, _ := paper(width)
			if err := (statusView{screen: out, now: noon}).print(st); err != nil {
				t.Error(err)
			}
			for line := range strings.SplitSeq(text.String(), "\n") {
				if w := runewidth.StringWidth(line); w > width {
					t.Errorf("%s at %d columns has a line of %d: %s", name, width, w, line)
				}
				if strings.TrimRight(line, " ") != line {
					t.Errorf("%s at %d columns has blanks at the end of: %q", name, width, line)
				}
			}
		}
	}
}

func TestStatusAsksForNoMoreThanItShows(t *testing.T) {
	d := scenario("fleet", noon)
	c := serve(t, d)
	ctx := context.Background()
	out, _, _ := paper(80)
	_ = runStatus(ctx, c, statusOptions{}, out, atNoon)
	_ = runStatus(ctx, c, statusOptions{verbose: true, names: []string{"orders"}}, out, atNoon)
	out.json = true
	_ = runStatus(ctx, c, statusOptions{}, out, atNoon)
	want := []control.StatusQuery{{}, {Names: []string{"orders"}, Slots: true, Usage: true}, {Slots: true, Usage: true}}
	if diff := cmp.Diff(want, d.queries); diff != "" {
		t.Errorf("queries (-want +got):\n%s", diff)
	}
}

func TestStatusJSONIsTheDocument(t *testing.T) {
	d := scenario("fleet", noon)
	out, text, _ := paper(80)
	out.json = true
	err := runStatus(context.Background(), serve(t, d), statusOptions{}, out, atNoon)
	if exitCode(err) != exitUnhealthy {
		t.Errorf("exit code %d", exitCode(err))
	}
	var got control.Status
	if err := json.Unmarshal(text.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(d.status, got); diff != "" {
		t.Errorf("(-sent +printed):\n%s", diff)
	}
}

func TestStatusOfNames(t *testing.T) {
	c := serve(t, scenario("fleet", noon))
	out, text, _ := paper(80)
	if err := runStatus(context.Background(), c, statusOptions{names: []string{"orders"}}, out, atNoon); err != nil {
		t.Errorf("orders is well, the rest does not count: %v", err)
	}
	if strings.Contains(text.String(), "mails ") {
		t.Errorf("only orders was asked for:\n%s", text)
	}
	err := runStatus(context.Background(), c, statusOptions{names: []string{"oders"}}, out, atNoon)
	if e, ok := errors.AsType[*control.Rejected](err); !ok || exitCode(err) != exitFailed || e.Hint() != `did you mean "orders"?` {
		t.Errorf("unknown name: %v", err)
	}
}

func TestExplainGolden(t *testing.T) {
	c := serve(t, scenario("fleet", noon))
	for _, name := range []string{"mails", "exports"} {
		for _, width := range []int{0, 60, 80, 120} {
			out, text, _ := paper(width)
			if err := runExplain(context.Background(), c, name, out, atNoon); err != nil {
				t.Fatal(err)
			}
			golden(t, fmt.Sprintf("explain-%s-%d.txt", name, width), text.String())
			for line := range strings.SplitSeq(text.String(), "\n") {
				if w := runewidth.StringWidth(line); width > 0 && w > width {
					t.Errorf("%s at %d columns has a line of %d: %s", name, width, w, line)
				}
			}
		}
	}
	out, text, _ := paper(80)
	out.ascii = true
	if err := runExplain(context.Background(), c, "mails", out, atNoon); err != nil {
		t.Fatal(err)
	}
	for _, r := range text.String() {
		if r > 126 {
			t.Errorf("%q is not ASCII:\n%s", r, text)
			break
		}
	}
}

// TestStatusTellsOfLostOutput: one line for each kind of trouble, whoever has it.
func TestStatusTellsOfLostOutput(t *testing.T) {
	d := scenario("fifty", noon)
	for i := range 5 {
		d.status.Consumers[i].Output = &control.OutputState{
			Error: fmt.Sprintf("write /var/log/qsuper/consumer-%02d.0.log: no space left on device", i),
			Since: noon.Add(-time.Duration(60+i) * time.Second), Slots: 1,
		}
	}
	d.status.Consumers[9].Output = &control.OutputState{Error: "open /x: \x1b[2Jbad", Since: noon.Add(-time.Second), Slots: 1}
	c := serve(t, d)
	out, text, _ := paper(200)
	_ = runStatus(context.Background(), c, statusOptions{}, out, atNoon)
	for _, want := range []string{
		"✗ output of consumer-00, consumer-01, consumer-02 and 2 more cannot be written for 1m4s: write /var/log/qsuper/consumer-04.0.log: no space left on device\n",
		`✗ output of consumer-09 cannot be written for 1s: open /x: \x1b[2Jbad` + "\n",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}
