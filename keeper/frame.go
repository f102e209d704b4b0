package keeper

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// frameType is the byte behind the length.
type frameType byte

// Engine to keeper, then keeper to engine. Numbers are never used again for
// something else.
const (
	frameHello       frameType = 1
	frameStart       frameType = 2
	frameStop        frameType = 3
	frameAck         frameType = 4
	frameDrop        frameType = 5
	frameLog         frameType = 6
	frameList        frameType = 7
	frameQuit        frameType = 8
	frameTerminating frameType = 9
	frameAgain       frameType = 10
	frameAdopt       frameType = 11
	frameFreeze      frameType = 12
	framePong        frameType = 13
	frameExtend      frameType = 14
	frameNotify      frameType = 15
	frameOutputs     frameType = 16
	frameUpgrade     frameType = 20

	frameSlot        frameType = 65
	frameListEnd     frameType = 66
	frameStarted     frameType = 67
	frameStartFailed frameType = 68
	frameStopping    frameType = 69
	frameExited      frameType = 70
	frameTerminate   frameType = 71
	frameReload      frameType = 72
	frameFrozen      frameType = 73
	frameLogTrouble  frameType = 74
	framePing        frameType = 75
	frameTaken       frameType = 77
	frameUpgrading   frameType = 80
)

const frameHead = 4 + 1 // length, type

// errFrame is a frame that a sane peer would not send.
var errFrame = errors.New("malformed frame")

// start is StartRequest on the wire: a specification travels once for each slot
// and engine, and later starts refer to it.
type start struct {
	Slot   string `json:"slot"`
	Run    uint64 `json:"run"`
	SpecID uint64 `json:"spec_id"`        // unique for the connection, never 0
	Spec   *Spec  `json:"spec,omitempty"` // nil: see Own
	Own    *own   `json:"own,omitempty"`  // nil as well: what SpecID said last time for this slot
	Memo   []byte `json:"memo,omitempty"`
	Again  *Again `json:"again,omitempty"`
	Lease  *Lease `json:"lease,omitempty"`
}

// own is a specification that is the one before it but for this: slots of one
// consumer have the rest in common, and it is most of what a start says.
type own struct {
	Argv []string `json:"argv"`
	Env  []string `json:"env"` // Spec.Own
	Dir  string   `json:"dir"`
	Lock string   `json:"lock"`
	FIFO string   `json:"fifo,omitempty"`
	Path string   `json:"log,omitempty"` // Spec.Log.Path
	Slot int      `json:"slot"`          // Spec.Log.Slot
}

// stops is StopRequest on the wire: many that differ in the run only are one, as
// the whole fleet is most often stopped at once. Runs has a line for each, such as
// "orders/0 12": to decode a thousand of them as JSON takes longer than to signal
// the processes.
type stops struct {
	Stop Stop   `json:"stop"`
	Now  bool   `json:"now,omitempty"`
	Idle bool   `json:"idle,omitempty"`
	Runs string `json:"runs"`
}

// appendRun adds a line to what will be stops.Runs.
func appendRun(lines []byte, slot string, run uint64) []byte {
	return append(strconv.AppendUint(append(append(lines, slot...), ' '), run, 10), '\n')
}

// each calls f for every run.
func (s *stops) each(f func(slot string, run uint64)) error {
	for line := range strings.Lines(s.Runs) {
		i := strings.LastIndexByte(line, ' ')
		run, err := strconv.ParseUint(strings.TrimSuffix(line[i+1:], "\n"), 10, 64)
		if i < 0 || err != nil {
			return fmt.Errorf("%w: %q is no run", errFrame, line)
		}
		f(line[:i], run)
	}
	return nil
}

// appendFrame encodes body behind what is in buf. A body that is too long
// leaves buf as it was.
func appendFrame(buf []byte, t frameType, body any) ([]byte, error) {
	b, err := json.Marshal(body)
	if err != nil {
		return buf, fmt.Errorf("encode frame %d: %w", t, err)
	}
	if len(b)+1 > MaxFrame {
		return buf, fmt.Errorf("encode frame %d: %d bytes are more than the %d of a frame", t, len(b)+1, MaxFrame)
	}
	buf = binary.BigEndian.AppendUint32(buf, uint32(len(b)+1))
	return append(append(buf, byte(t)), b...), nil
}

// nextFrame cuts the first frame off buf. ok is false while it is incomplete.
func nextFrame(buf []byte) (t frameType, body, rest []byte, ok bool, err error) {
	if len(buf) < frameHead {
		return 0, nil, buf, false, nil
	}
	n := int(binary.BigEndian.Uint32(buf))
	if n < 1 || n > MaxFrame {
		return 0, nil, buf, false, fmt.Errorf("%w: %d bytes long", errFrame, n)
	}
	if len(buf) < 4+n {
		return 0, nil, buf, false, nil
	}
	return frameType(buf[4]), buf[frameHead : 4+n], buf[4+n:], true, nil
}

func decoded[T any](body []byte) (any, error) { return decode[T](body) }

// decode reads a body.
func decode[T any](body []byte) (T, error) {
	var v T
	if err := json.Unmarshal(body, &v); err != nil {
		return v, fmt.Errorf("%w: %v", errFrame, err)
	}
	return v, nil
}
