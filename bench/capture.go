package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// captureWriters is how many children write at once.
const captureWriters = 16

// captureRounds measures how fast supervisors take their children's output into
// rotated files, and what that costs them.
func (b *bench) captureRounds(ctx context.Context) {
	if !b.wants("logs") {
		return
	}
	for round := range b.shortRounds {
		for _, p := range b.capturers() {
			for _, key := range []string{"log-lines", "log-blocks"} {
				progress("%s, round %d of %d: %s", key, round+1, b.shortRounds, p.name())
				if err := b.captureRound(ctx, p, key); err != nil {
					b.fail(ctx, key+", "+p.name(), err)
				}
				if ctx.Err() != nil {
					return
				}
			}
		}
	}
}

// capturers are the peers, with all three floors in place of the one.
func (b *bench) capturers() []peer {
	var list []peer
	for _, p := range b.peers {
		f, ok := p.(floorPeer)
		if !ok {
			list = append(list, p)
			continue
		}
		for _, mode := range []string{"rw", "paced", "splice"} {
			list = append(list, floorPeer{f.binary, mode})
		}
	}
	return list
}

func (b *bench) captureRound(ctx context.Context, p peer, key string) error {
	permit := filepath.Join(b.dir, "go")
	defer os.Remove(permit)
	env := map[string]string{"BENCH_GO": permit, "BENCH_MILLIS": strconv.FormatInt(b.captureTime.Milliseconds(), 10)}
	if key == "log-blocks" {
		env["BENCH_BLOCKS"] = "1"
	}
	s, err := launch(p, workload{program: b.programs.writer, n: captureWriters, env: env, capture: true}, b.dir)
	if err != nil {
		return err
	}
	defer s.close()
	if _, err := s.awaitStarts(ctx, captureWriters); err != nil {
		return err
	}
	if err := pause(ctx, 300*time.Millisecond); err != nil { // until the peer's own start is over
		return err
	}
	own := s.own()
	before, err := cpuTimes(own)
	if err != nil {
		return err
	}
	if err := os.WriteFile(permit, nil, 0o644); err != nil {
		return err
	}
	bytes, kept, took, err := s.awaitWritten(ctx)
	if err != nil {
		return err
	}
	after, err := cpuTimes(own)
	if err != nil {
		return err
	}
	if err := checkCaptured(s.load.dir, kept); err != nil {
		return err
	}
	b.record(key, p, float64(bytes)/took)
	b.record(key+"-cpu", p, seconds(after-before)/float64(bytes)*1e9)
	_, err = s.stop(ctx)
	return err
}

// awaitWritten returns the bytes of all writers, how many of them rotation must
// have kept, and the seconds from the first beginning to the last pipe being empty.
func (s *session) awaitWritten(ctx context.Context) (bytes, kept uint64, took float64, err error) {
	var first int64
	done := 0
	last, err := s.await(ctx, 60*time.Second, "end of the output", func(r record) bool {
		switch {
		case r.kind == begun && (first == 0 || r.at < first):
			first = r.at
		case r.kind == written:
			bytes += r.value
			kept += min(r.value, rotateKeep*rotateBytes)
			done++
		}
		return done == captureWriters
	})
	return bytes, kept, seconds(last.at - first), err
}

// checkCaptured finds out whether the output is really there: a peer that drops
// it would be the fastest of all.
func checkCaptured(dir string, want uint64) error {
	var found uint64
	err := filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if os.IsNotExist(err) { // rotated away meanwhile
			return nil
		}
		if err != nil {
			return err
		}
		if info, err := d.Info(); err == nil && info.Mode().IsRegular() {
			found += uint64(info.Size())
		}
		return nil
	})
	if err != nil {
		return err
	}
	// A tenth may be between two files, or still in a logger's own buffer.
	if found < want/10*9 {
		return fmt.Errorf("%d MB of output must have been kept, but only %d MB are in files", want>>20, found>>20)
	}
	return nil
}
