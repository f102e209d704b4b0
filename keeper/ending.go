package keeper

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// endingName is there, in the state directory, from the moment a keeper is told to
// stop everything until it has. Where one is found without a keeper, the stop was
// cut off: nobody wanted to keep what still runs.
const endingName = "ending"

// CutOff says whether a stop of everything was cut off in a state directory.
func CutOff(stateDir string) bool {
	var st unix.Stat_t
	return unix.Lstat(filepath.Join(stateDir, endingName), &st) == nil
}

// markEnding is called when everything is to be stopped.
func (k *keeper) markEnding() {
	fd, err := unix.Open(filepath.Join(k.opt.StateDir, endingName), unix.O_WRONLY|unix.O_CREAT|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		k.log.Warn("a stop that is cut off would leave processes to the next daemon", "error", err)
		return
	}
	unix.Close(fd)
}

// unmarkEnding is called when it has been stopped, and by a keeper that begins.
func unmarkEnding(stateDir string) {
	_ = os.Remove(filepath.Join(stateDir, endingName)) // mostly it is not there
}

// idle says whether there is nothing to be stopped, or to be kept.
func (k *keeper) idle() bool { return k.live == 0 && len(k.slots) == 0 }
