package main

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// verdict measures one figure for floor and qsuper and returns qsuper's row.
func verdict(t *testing.T, key string, floor, qsuper float64) row {
	t.Helper()
	r := newResults()
	if floor >= 0 {
		r.of(key, "floor").addRound(floor)
	}
	r.of(key, "qsuper").addRound(qsuper)
	for _, line := range r.rows(catalog(1000), []string{"floor", "qsuper"}) {
		if line.Peer == "qsuper" {
			return line
		}
	}
	t.Fatalf("no row for qsuper in %s", key)
	return row{}
}

func TestVerdictAgainstTheFloorOrALimit(t *testing.T) {
	for _, c := range []struct {
		name          string
		key           string
		floor, qsuper float64 // as measured: seconds, bytes, per second; floor -1 = not measured
		want          string
	}{
		{"twice the floor is reached", "start", 0.100, 0.200, "pass"},
		{"more than twice is not", "start", 0.100, 0.201, "MISS"},
		{"no floor, no verdict", "start", -1, 0.050, ""},
		{"limit in milliseconds", "status", -1, 0.008, "pass"},
		{"limit in milliseconds missed", "status", -1, 0.0081, "MISS"},
		{"more is better", "restarts", 15000, 3000, "pass"},
		{"more is better, missed", "restarts", 15000, 2999, "MISS"},
		{"idle floor of zero has no ratio", "idle", 0, 0.030, "pass"},
		{"memory in MiB", "pss", 1 << 19, 24 << 20, "pass"},
		{"rates in MB", "log-blocks", 2e9, 1.19e9, "MISS"},
		{"whatever the interval", "latency-1s", -1, 0.051, "MISS"},
		{"no goal", "status-json", -1, 1, ""},
	} {
		if got := verdict(t, c.key, c.floor, c.qsuper).Verdict; got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func TestRatioIsToTheBestFloor(t *testing.T) {
	r := newResults()
	r.of("log-lines", "floor").addRound(200e6)
	r.of("log-lines", "floor-paced").addRound(400e6)
	r.of("log-lines-cpu", "floor").addRound(0.5)
	r.of("log-lines-cpu", "floor-paced").addRound(0.8)
	ratios := map[string]float64{}
	for _, line := range r.rows(catalog(1), []string{"floor", "floor-paced"}) {
		ratios[line.Figure+" "+line.Peer] = line.Ratio
	}
	want := map[string]float64{"log-lines floor": 0.5, "log-lines floor-paced": 1, "log-lines-cpu floor": 1, "log-lines-cpu floor-paced": 1.6}
	if diff := cmp.Diff(want, ratios); diff != "" {
		t.Error(diff)
	}
}

func TestEveryFigureBelongsToAGroup(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range catalog(1) {
		seen[f.group] = true
	}
	for _, g := range groups {
		if !seen[g] {
			t.Errorf("-figures %s chooses nothing", g)
		}
		delete(seen, g)
	}
	for g := range seen {
		t.Errorf("no -figures chooses group %s", g)
	}
}

func TestTableIsAligned(t *testing.T) {
	r := newResults()
	r.of("start", "floor").addRound(0.1)
	r.of("start", "qsuper").addRound(0.15)
	r.of("pss", "qsuper").addRound(6 << 20)
	var out bytes.Buffer
	printTable(&out, r.rows(catalog(1000), []string{"floor", "qsuper"}))
	want := `figure           peer    median     spread  of  unit  × floor  goal
start all, 1000  floor      100  100 – 100   1  ms       1.00
                 qsuper     150  150 – 150   1  ms       1.50  ≤ 2 × floor  pass
PSS, 1000        qsuper     6.0  6.0 – 6.0   1  MiB         -  ≤ 24 MiB     pass
`
	got := strings.ReplaceAll(out.String(), "\n\n", "\n")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestReportReadsWhatWasAppended(t *testing.T) {
	path := filepath.Join(t.TempDir(), "report")
	r, err := createReport(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.file.Close()
	w, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	write := func(at uint64, pid, kind uint32, value uint64) {
		b := binary.NativeEndian.AppendUint64(nil, at)
		b = binary.NativeEndian.AppendUint32(b, pid)
		b = binary.NativeEndian.AppendUint32(b, kind)
		b = binary.NativeEndian.AppendUint64(b, value)
		if _, err := w.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	read := func() []record {
		records, err := r.next()
		if err != nil {
			t.Fatal(err)
		}
		return records
	}
	write(5, 42, 1, 7)
	write(6, 43, 2, 0)
	first := read()
	write(9, 44, 4, 1<<40)
	second := read()
	equal := cmp.AllowUnexported(record{})
	if diff := cmp.Diff([]record{{5, 42, started, 7}, {6, 43, ended, 0}}, first, equal); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]record{{9, 44, written, 1 << 40}}, second, equal); diff != "" {
		t.Error(diff)
	}
	if rest := read(); len(rest) != 0 {
		t.Errorf("nothing was appended, got %v", rest)
	}
}
