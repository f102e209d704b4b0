// Bench measures qsuper beside other supervisors and beside the least a
// supervisor can do, all in one run on one machine: `make bench`.
//
// Numbers of different machines, or of different days, say little; the column
// "× floor" is what to compare. Peers take turns round by round, so that
// a machine that gets busy hurts all alike; every time stamp is taken by the
// children themselves (native/tiny.h), so that observing costs nothing.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// bench is one run.
type bench struct {
	n            int
	rounds       int
	shortRounds  int // of figures whose samples are long enough to be averages already
	replacements int // samples a round
	idleTime     time.Duration
	recycleTime  time.Duration
	captureTime  time.Duration
	groups       []string
	dir          string // private, on tmpfs where there is one
	programs     programs
	peers        []peer
	results      *results
}

// options are the command line.
type options struct {
	n, rounds     int
	idle          time.Duration
	quick         bool
	only, figures string
	binary, json  string
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func parseFlags() options {
	var o options
	flag.IntVar(&o.n, "n", 1000, "children of a fleet")
	flag.IntVar(&o.rounds, "rounds", 5, "rounds, each of which takes every peer once")
	flag.DurationVar(&o.idle, "idle", 30*time.Second, "how long idle fleets are watched")
	flag.BoolVar(&o.quick, "quick", false, "less of everything (-n 200 -rounds 2 -idle 5s unless given): 2 minutes instead of 10")
	flag.StringVar(&o.only, "only", "", "peers, e.g. qsuper,floor (all)")
	flag.StringVar(&o.figures, "figures", "", "figures, of "+strings.Join(groups, ",")+" (all)")
	flag.StringVar(&o.binary, "qsuper", "bin/qsuper", "the qsuper to measure")
	flag.StringVar(&o.json, "json", "", "write the results to this file as well")
	flag.Parse()
	given := map[string]bool{}
	flag.Visit(func(f *flag.Flag) { given[f.Name] = true })
	if o.quick {
		if !given["n"] {
			o.n = 200
		}
		if !given["rounds"] {
			o.rounds = 2
		}
		if !given["idle"] {
			o.idle = 5 * time.Second
		}
	}
	return o
}

func run() error {
	o := parseFlags()
	b, err := newBench(o)
	if err != nil {
		return err
	}
	// Orphans of a supervisor come here and not to init: none can be lost.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become a subreaper: %w", err)
	}
	if b.dir, err = privateDir(); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	defer sweep()
	if err := b.build(); err != nil {
		return err
	}
	limit := 10 * time.Minute
	if o.quick {
		limit = 2 * time.Minute
	}
	ctx, cancel := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer cancel()
	ctx, cancelLimit := context.WithTimeoutCause(ctx, limit, fmt.Errorf("the run was cut off after %s", limit))
	defer cancelLimit()

	m, began := describeMachine(b), time.Now()
	b.measure(ctx)
	m.LoadAfter, m.Seconds = loadAverage(), int(time.Since(began).Seconds())
	return b.finish(ctx, m, o.json)
}

// measure takes the quick figures first: what a cut-off loses is the least.
func (b *bench) measure(ctx context.Context) {
	for _, step := range []func(context.Context){b.fleetRounds, b.recycleRounds, b.captureRounds, b.latency, b.idle} {
		if ctx.Err() == nil {
			step(ctx)
		}
	}
}

// finish prints the results; whatever could not be measured is an error.
func (b *bench) finish(ctx context.Context, m machine, jsonFile string) error {
	var names []string
	for _, p := range b.capturers() {
		names = append(names, p.name())
	}
	rows := b.results.rows(catalog(b.n), names)
	fmt.Printf("%s, %d cores, Linux %s; load average before %s, after %s; %d rounds, %d s\n",
		m.CPU, m.Cores, m.Kernel, m.LoadBefore, m.LoadAfter, m.Rounds, m.Seconds)
	fmt.Println("median and spread (lowest – highest) of the rounds; of: measurements behind them; × floor: against the best floor of the figure")
	if m.busy() {
		fmt.Println("THE MACHINE WAS BUSY before the run began: repeat this when it is quiet")
	}
	fmt.Println()
	printTable(os.Stdout, rows)
	missed := 0
	for _, r := range rows {
		if r.Verdict == "MISS" {
			missed++
		}
	}
	if b.measures("qsuper") {
		fmt.Printf("\ngoals missed: %d\n", missed)
	}
	for _, f := range b.results.failures {
		fmt.Println("not measured:", f)
	}
	if jsonFile != "" {
		if err := writeJSON(jsonFile, m, rows, b.results.failures); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if len(b.results.failures) > 0 {
		return errors.New("some figures could not be measured, see above")
	}
	return nil
}

// newBench checks the command line and that everything needed is installed.
func newBench(o options) (*bench, error) {
	b := &bench{n: o.n, rounds: o.rounds, idleTime: o.idle, results: newResults(), groups: groups,
		shortRounds: min(o.rounds, 3), replacements: 100, recycleTime: 3 * time.Second, captureTime: 1500 * time.Millisecond}
	if o.quick {
		b.shortRounds, b.replacements, b.recycleTime, b.captureTime = 1, 100, 2*time.Second, 700*time.Millisecond
	}
	if o.n < 1 || o.n > 8000 || o.rounds < 1 || o.idle < time.Second {
		return nil, errors.New("want -n 1..8000, -rounds at least 1, -idle at least 1s")
	}
	if o.figures != "" {
		b.groups = strings.Split(o.figures, ",")
		for _, g := range b.groups {
			if !slices.Contains(groups, g) {
				return nil, fmt.Errorf("no figure is called %q; there are %s", g, strings.Join(groups, ", "))
			}
		}
	}
	binary, err := filepath.Abs(o.binary)
	if err != nil {
		return nil, err
	}
	all := []peer{floorPeer{mode: "rw"}, qsuperPeer{binary: binary}, runitPeer{}, s6Peer{}, supervisorPeer{}}
	if b.peers, err = choose(all, o.only); err != nil {
		return nil, err
	}
	var tools []tool
	for _, p := range b.peers {
		tools = append(tools, p.tools()...)
		if q, ok := p.(qsuperPeer); ok {
			if _, err := os.Stat(q.binary); err != nil {
				return nil, fmt.Errorf("there is no %s: run `make build` first", o.binary)
			}
		}
	}
	if missing := missingPackages(tools); missing != nil {
		return nil, fmt.Errorf("these Debian packages are missing: %[1]s; run: apt-get install --no-install-recommends %[1]s", strings.Join(missing, " "))
	}
	return b, nil
}

func choose(all []peer, only string) ([]peer, error) {
	if only == "" {
		return all, nil
	}
	var chosen []peer
	for _, name := range strings.Split(only, ",") {
		i := slices.IndexFunc(all, func(p peer) bool { return p.name() == name })
		if i < 0 {
			return nil, fmt.Errorf("no peer is called %q; there are floor, qsuper, runit, s6, supervisor", name)
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

// build compiles the C programs and tells the floor where it is.
func (b *bench) build() error {
	dir := filepath.Join(b.dir, "native")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	var err error
	if b.programs, err = compile(dir); err != nil {
		return err
	}
	for i, p := range b.peers {
		if f, ok := p.(floorPeer); ok {
			b.peers[i] = floorPeer{b.programs.floor, f.mode}
		}
	}
	return nil
}

// privateDir is on tmpfs where there is one: disks are not what is measured.
func privateDir() (string, error) {
	if dir, err := os.MkdirTemp("/dev/shm", "qsuper-bench-"); err == nil {
		return dir, nil
	}
	return os.MkdirTemp("", "qsuper-bench-")
}

// wants says whether one of the groups was chosen.
func (b *bench) wants(names ...string) bool {
	return slices.ContainsFunc(names, func(g string) bool { return slices.Contains(b.groups, g) })
}

// fail remembers that something could not be measured; the rest goes on. What
// fails because the run was ended is no news.
func (b *bench) fail(ctx context.Context, what string, err error) {
	if ctx.Err() != nil {
		return
	}
	text := fmt.Sprintf("%s: %v", what, err)
	b.results.failures = append(b.results.failures, text)
	progress("FAILED %s", text)
}

// measures says whether a peer was chosen.
func (b *bench) measures(name string) bool {
	return slices.ContainsFunc(b.peers, func(p peer) bool { return p.name() == name })
}

// record adds one round's value of a figure, if it was asked for.
func (b *bench) record(key string, p peer, v float64) {
	for _, f := range catalog(b.n) {
		if f.key == key && b.wants(f.group) {
			b.results.of(key, p.name()).addRound(v)
		}
	}
}

func describeMachine(b *bench) machine {
	m := machine{Cores: runtime.NumCPU(), LoadBefore: loadAverage(), Children: b.n, Rounds: b.rounds, CPU: "unknown CPU"}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		m.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	info, _ := os.ReadFile("/proc/cpuinfo")
	if _, rest, ok := strings.Cut(string(info), "model name\t: "); ok {
		m.CPU, _, _ = strings.Cut(rest, "\n")
	}
	return m
}

// busy says whether something else was running when the run began. The load
// after it is the run's own.
func (m machine) busy() bool {
	load, err := strconv.ParseFloat(m.LoadBefore, 64)
	return err == nil && load > float64(m.Cores)/2
}

// loadAverage is that of the last minute.
func loadAverage() string {
	b, _ := os.ReadFile("/proc/loadavg")
	first, _, _ := strings.Cut(string(b), " ")
	return first
}
