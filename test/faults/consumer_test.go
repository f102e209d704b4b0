package faults

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// consumerEnv makes the test binary a consumer; its value is the journal.
const consumerEnv = "QFAULT_JOURNAL"

// mainEnv is the pid of the consumer itself, for its children.
const mainEnv = "QFAULT_MAIN"

// tickEvery is how often a consumer notes that it is alive.
const tickEvery = 100 * time.Millisecond

// misbehaviour is what the words of a consumer's command line made of it.
type misbehaviour struct {
	journal *writer

	role    string        // main, child
	rate    float64       // numbered lines a second; 0 none, negative: as fast as it goes
	pad     int           // bytes of padding in a numbered line
	limit   int64         // numbered lines, then silence; 0 = no end
	ignore  bool          // TERM, INT and HUP
	finish  time.Duration // how long TERM takes
	parting int           // numbered lines after TERM, the last without its newline
	code    int           // exit code
	life    time.Duration // then it exits by itself; 0 = never
	raise   syscall.Signal

	lines   atomic.Int64 // numbered lines that are written whole
	stopped chan struct{}
	quiet   chan struct{} // closed when no numbered line is being written any more
}

// consume is the consumer: it reads its words one after the other, as a
// program, and then works until it is told to end. It returns the exit code.
func consume(words []string) int {
	m := &misbehaviour{role: "main", stopped: make(chan struct{}), quiet: make(chan struct{})}
	m.journal = openJournal(os.Getenv(consumerEnv))
	if os.Getenv(mainEnv) == "" {
		_ = os.Setenv(mainEnv, strconv.Itoa(os.Getpid())) // its children inherit it
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	m.read(words)
	m.note("begin", "")
	if m.raise != 0 {
		signal.Reset(m.raise)
		_ = unix.Kill(os.Getpid(), m.raise)
		<-time.After(time.Minute)
	}
	go m.talk()
	m.live(signals)
	m.note("end", "")
	return m.code
}

func (m *misbehaviour) note(event, detail string) {
	m.journal.add(record{Event: event, Role: m.role, Lines: m.lines.Load(), Detail: detail})
}

// read carries out the words that act at once and remembers the others.
func (m *misbehaviour) read(words []string) {
	for len(words) > 0 {
		word := words[0]
		words = words[1:]
		text := func() string { w := words[0]; words = words[1:]; return w }
		number := func() int {
			n, err := strconv.Atoi(text())
			m.must(word, err)
			return n
		}
		span := func() time.Duration {
			d, err := time.ParseDuration(text())
			m.must(word, err)
			return d
		}
		switch word {
		case "lines": // a second; -1 = as fast as it goes
			m.rate = float64(number())
		case "limit":
			m.limit = int64(number())
		case "pad":
			m.pad = number()
		case "ignore":
			m.ignore = true
		case "finish":
			m.finish = span()
		case "parting":
			m.parting = number()
		case "code":
			m.code = number()
		case "life":
			m.life = span()
		case "raise":
			m.raise = syscall.Signal(number())
		case "say": // without a newline
			fmt.Print(text())
		case "bytes": // binary, without newlines, in one write
			_, _ = os.Stdout.Write([]byte(strings.Repeat("\x00\xff\x1b[31m\r", number()/8)))
		case "close-fds":
			closeInherited()
			m.journal = openJournal(os.Getenv(consumerEnv))
		case "forks": // children that do nothing
			for range number() {
				m.must(word, exec.Command("sleep", "1000").Start())
			}
		case "bomb": // tries, whatever becomes of each
			for range number() {
				_ = exec.Command("sleep", "1000").Start()
			}
		case "zombies": // children that have ended, and that nobody waits for
			for range number() {
				m.must(word, exec.Command("true").Start())
			}
		case "memory": // MiB
			allocate(number() << 20)
		case "stop-self":
			_ = unix.Kill(os.Getpid(), unix.SIGSTOP)
		case "until": // a file exists: then it exits with the code after that
			go m.until(text(), number())
		case "child": // group | session | orphan WORDS… end
			words = m.child(words)
		case "as": // set by child
			m.role = text()
		default:
			m.must(word, fmt.Errorf("not a word of this consumer"))
		}
	}
}

var hold []byte // what was allocated

func allocate(n int) {
	hold = make([]byte, n)
	for i := 0; i < n; i += 4096 {
		hold[i] = 1
	}
}

// closeInherited closes all but stdin, stdout, stderr and what the Go runtime
// waits with, which it cannot live without.
func closeInherited() {
	entries, _ := os.ReadDir("/proc/self/fd")
	for _, e := range entries {
		fd, _ := strconv.Atoi(e.Name())
		target, _ := os.Readlink("/proc/self/fd/" + e.Name())
		if fd > 2 && !strings.HasPrefix(target, "anon_inode:") {
			_ = unix.Close(fd)
		}
	}
}

func (m *misbehaviour) must(what string, err error) {
	if err != nil {
		m.note("trouble", fmt.Sprintf("%s: %v", what, err))
		os.Exit(99)
	}
}

// until ends the process once a file is there, as a consumer whose broker is gone.
func (m *misbehaviour) until(name string, code int) {
	for {
		if _, err := os.Stat(name); err == nil {
			m.note("end", "saw "+name)
			os.Exit(code)
		}
		<-time.After(20 * time.Millisecond)
	}
}

// child starts a process of the same program. An orphan is forked twice: its
// parent is gone, its session its own.
func (m *misbehaviour) child(words []string) (rest []string) {
	kind, depth, end := words[0], 1, 1
	for ; depth > 0; end++ {
		switch words[end] {
		case "child":
			depth++
		case "end":
			depth--
		}
	}
	args := append([]string{"as", "child"}, words[1:end-1]...)
	if kind == "orphan" {
		// The one in between starts the orphan and leaves.
		args = append(append([]string{"as", "between", "child", "session"}, words[1:end-1]...), "end", "life", "1ms")
	}
	c := exec.Command("/proc/self/exe", args...)
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: kind != "group"}
	m.must("child", c.Start())
	go func() { _ = c.Wait() }()
	return words[end:]
}

// live waits for the end, by a signal or by itself.
func (m *misbehaviour) live(signals <-chan os.Signal) {
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	var over <-chan time.Time
	if m.life > 0 {
		over = time.After(m.life)
	}
	for {
		select {
		case s := <-signals:
			m.note("signal", s.String())
			if m.ignore || over != nil && m.life == 0 { // once is enough
				continue
			}
			m.life, over = 0, time.After(m.finish)
		case <-tick.C:
			m.note("tick", "")
		case <-over:
			close(m.stopped)
			<-m.quiet
			return
		}
	}
}

// talk writes numbered lines until it is stopped, and then the parting ones.
func (m *misbehaviour) talk() {
	defer close(m.quiet)
	began := time.Now()
	for m.rate != 0 && (m.limit == 0 || m.lines.Load() < m.limit) {
		select {
		case <-m.stopped:
			m.part()
			return
		default:
		}
		if m.rate > 0 {
			// By the clock and not by pauses: a busy machine must not change the rate.
			due := began.Add(time.Duration(float64(m.lines.Load()) / m.rate * float64(time.Second)))
			if wait := time.Until(due); wait > 0 {
				select {
				case <-time.After(wait):
				case <-m.stopped:
				}
				continue
			}
		}
		m.line("\n")
	}
	<-m.stopped
	m.part()
}

func (m *misbehaviour) part() {
	for i := range m.parting {
		end := "\n"
		if i == m.parting-1 {
			end = ""
		}
		m.line(end)
	}
}

// line writes one numbered line, which says how long it must be.
func (m *misbehaviour) line(end string) {
	n := m.lines.Load() + 1
	text := fmt.Sprintf("L %s %d %d %d %s;%s", os.Getenv("QSUPER_RUN_ID"), os.Getpid(), n, m.pad, strings.Repeat("x", m.pad), end)
	if _, err := os.Stdout.WriteString(text); err != nil {
		m.note("trouble", "write a line: "+err.Error())
		os.Exit(98)
	}
	m.lines.Store(n)
}
