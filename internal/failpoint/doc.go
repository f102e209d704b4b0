// Package failpoint marks the moments between two steps that belong together, at
// which a process must be able to die. In a binary built with the tag failpoints,
// QSUPER_FAILPOINT="NAME FILE" has whoever comes to the point NAME remove FILE,
// and be killed on the spot if it was there. In all others Hit is nothing.
package failpoint

// The points.
const (
	LockBeforeSpawn  = "lock-before-spawn"  // the slot's lock is taken, nothing is started
	ForkBeforeRecord = "fork-before-record" // a process is started, nobody has noted it
	TermBeforeTimer  = "term-before-timer"  // the stop signal is sent, nothing of it is noted
	RenameBeforeSync = "rename-before-sync" // a file is replaced, nobody has been told
)
