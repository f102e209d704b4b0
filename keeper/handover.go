package keeper

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"qsuper/logs"
	"qsuper/pidfile"
	"qsuper/proc"
)

// handoverVersion is the version of what one keeper hands over to the next. A
// newer binary reads what older ones wrote; an older one refuses what is newer.
const handoverVersion = 1

// handoverEnv tells a keeper that it takes over from another one in the same
// process: "STATE LOCK", the numbers of two descriptors.
const handoverEnv = "QSUPER_HANDOVER"

// maxHandover bounds the state, in bytes: some ten thousand slots.
const maxHandover = 256 << 20

// handover is everything a keeper knows that its successor cannot find out. Moments
// are of CLOCK_BOOTTIME, which goes on.
type handover struct {
	Version   int             `json:"version"`
	StateDir  string          `json:"state_dir"`
	Carry     json.RawMessage `json:"carry,omitempty"` // Options.Carry
	Argv      []string        `json:"argv"`            // the daemon's command line
	Home      string          `json:"home"`            // Options.Binary
	Binary    string          `json:"binary"`          // what takes over
	Engines   int             `json:"engines"`
	Since     time.Time       `json:"since"`
	Strangers bool            `json:"strangers,omitempty"`
	Terminate int             `json:"terminate,omitempty"` // so many TERM came on the way
	Reload    bool            `json:"reload,omitempty"`    // a HUP came
	Escort    *proc.Kept      `json:"escort,omitempty"`    // see escort.go
	Slots     []heldSlot      `json:"slots"`
}

type heldSlot struct {
	Name   string     `json:"name"`
	Spec   *Spec      `json:"spec,omitempty"`
	Memo   []byte     `json:"memo,omitempty"`
	Exit   *Exited    `json:"exit,omitempty"`
	FIFO   string     `json:"fifo,omitempty"` // "" = output is not captured
	Log    Log        `json:"log"`            // in force
	Output logs.Begun `json:"output"`
	Hold   bool       `json:"hold,omitempty"`   // see slot.hold
	Stored bool       `json:"stored,omitempty"` // the service manager holds the pipe
	Group  bool       `json:"group,omitempty"`  // has a cgroup
	Spent  bool       `json:"spent,omitempty"`  // see slot.spent
	Lease  *Lease     `json:"lease,omitempty"`
	Limits Limits     `json:"limits,omitzero"` // that the group was made with
	Run    *heldRun   `json:"run,omitempty"`
}

type heldRun struct {
	ID        uint64        `json:"id"`
	Spec      *Spec         `json:"spec,omitempty"` // nil: the slot's
	Process   proc.Kept     `json:"process"`
	Adopted   bool          `json:"adopted,omitempty"` // not our child
	At        time.Time     `json:"at"`
	Step      string        `json:"step,omitempty"`
	Stopping  Stop          `json:"stopping"`
	Asked     bool          `json:"asked,omitempty"`
	Signalled bool          `json:"signalled,omitempty"`
	Killed    bool          `json:"killed,omitempty"`
	Deadline  time.Duration `json:"deadline"`
	SignalAt  time.Duration `json:"signal_at"`
	WakeAt    time.Duration `json:"wake_at"`
	Command   *proc.Kept    `json:"command,omitempty"` // stop command that runs
	OOMs      int           `json:"ooms,omitempty"`
	OOM       bool          `json:"oom,omitempty"`
	Exit      *proc.Exit    `json:"exit,omitempty"` // the process has ended, and left others behind
	ExitAt    time.Time     `json:"exit_at,omitzero"`
	Ran       time.Duration `json:"ran,omitempty"`
	Leftovers int           `json:"leftovers,omitempty"` // without those in Left
	Left      []int         `json:"left,omitempty"`      // who has been counted and was there
	Serial    string        `json:"serial"`
	UID       *int          `json:"uid,omitempty"` // nil: what the specification says
	ToldAt    time.Duration `json:"told_at,omitempty"`
	Told      []int         `json:"told,omitempty"`
	Missed    string        `json:"missed,omitempty"`
	Unsafe    bool          `json:"unsafe,omitempty"`
	Idle      bool          `json:"idle,omitempty"`
	Fenced    bool          `json:"fenced,omitempty"`
	Frozen    bool          `json:"frozen,omitempty"` // goes on: who wanted it to stand still is gone
}

// Heir is what another keeper has handed over to this process.
type Heir struct {
	state handover
	lock  int   // descriptor of the state directory's lock
	err   error // why the state cannot be used
}

// TakeOver returns what the program before this one, in the same process, has
// handed over; nil: there was none. It is to be called once, before anything else
// is opened.
func TakeOver() *Heir {
	text := os.Getenv(handoverEnv)
	if text == "" {
		return nil
	}
	_ = os.Unsetenv(handoverEnv) // the name is valid
	state, lock, ok := strings.Cut(text, " ")
	fd, err := strconv.Atoi(state)
	held, lockErr := strconv.Atoi(lock)
	if !ok || err != nil || lockErr != nil || fd < 3 || held < 3 {
		return nil // somebody else's variable
	}
	unix.CloseOnExec(held)
	h := &Heir{lock: held}
	h.state, h.err = readHandover(fd)
	unix.Close(fd)
	return h
}

// Trial is the state that a keeper gives to a program to find out whether it could
// take over. The error tells why it could not.
func Trial() (*Heir, error) {
	state, err := readHandover(EngineFD)
	if err != nil {
		return nil, err
	}
	if _, err := pidfile.ReadRuns(state.StateDir); err != nil {
		return nil, err
	}
	return &Heir{state: state}, nil
}

// Carry is Options.Carry of the keeper before; nil when it cannot be read.
func (h *Heir) Carry() json.RawMessage { return h.state.Carry }

// StateDir is the daemon's; "" when it cannot be read.
func (h *Heir) StateDir() string { return h.state.StateDir }

// Argv is the command line that the daemon will have.
func (h *Heir) Argv() []string { return h.state.Argv }

// Home is Options.Binary of the keeper before: where the daemon was started from.
func (h *Heir) Home() string { return h.state.Home }

// verdict is what a trial prints on stdout when all is well: an exit status of 0
// alone could come from any program.
type verdict struct {
	Handover int    `json:"qsuper_handover"`
	Version  string `json:"version"`
}

// Pass tells the keeper that this program can take over.
func (h *Heir) Pass(w io.Writer, version string) error {
	return json.NewEncoder(w).Encode(verdict{handoverVersion, version})
}

// readHandover reads from the beginning, as the descriptor's position is shared.
func readHandover(fd int) (handover, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return handover{}, fmt.Errorf("read what the daemon hands over: %w", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size > maxHandover {
		return handover{}, errors.New("read what the daemon hands over: this command is started by a daemon only")
	}
	text := make([]byte, st.Size)
	for have := 0; have < len(text); {
		n, err := unix.Pread(fd, text[have:], int64(have))
		if n <= 0 {
			return handover{}, fmt.Errorf("read what the daemon hands over: %d of %d bytes: %w", have, len(text), errors.Join(err, io.ErrUnexpectedEOF))
		}
		have += n
	}
	return decodeHandover(text)
}

func decodeHandover(text []byte) (handover, error) {
	var first struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(text, &first); err != nil {
		return handover{}, fmt.Errorf("understand what the daemon hands over: %w", err)
	}
	if first.Version < 1 || first.Version > handoverVersion {
		return handover{}, fmt.Errorf("understand what the daemon hands over: it has version %d, this program knows up to %d: to go back to an older one, stop the daemon and start it again", first.Version, handoverVersion)
	}
	var h handover
	d := json.NewDecoder(bytes.NewReader(text))
	if err := d.Decode(&h); err != nil {
		return handover{}, fmt.Errorf("understand what the daemon hands over: %w", err)
	}
	var prev *Spec
	for i := range h.Slots {
		if s := h.Slots[i].Spec; s != nil {
			s.share(prev)
			prev = s
		}
	}
	return h, nil
}

// file puts the state where another program can read it: in memory, as there are
// secrets in the environment of consumers.
func (h *handover) file() (int, error) {
	text, err := json.Marshal(h)
	if err != nil {
		return -1, fmt.Errorf("encode what is handed over: %w", err)
	}
	fd, err := memory("qsuper-handover")
	for err == nil && len(text) > 0 {
		var n int
		if n, err = unix.Write(fd, text); n > 0 {
			text = text[n:]
		}
		if err == unix.EINTR {
			err = nil
		}
	}
	if err != nil {
		if fd >= 0 {
			unix.Close(fd)
		}
		return -1, fmt.Errorf("write what is handed over: %w", err)
	}
	return fd, nil
}

// memory is a file without a name.
func memory(name string) (int, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("make a file in memory: %w", err)
	}
	return fd, nil
}
