package keeper

import (
	"encoding/json"
	"log/slog"
	"os"
)

// Options say what to keep.
type Options struct {
	EnginePath string   // executable of the engine; "" = EngineArgv[0]
	EngineArgv []string // its arguments, Argv[0] included
	EngineEnv  []string // its environment; nil = the keeper's own
	StateDir   string   // absolute; created if need be
	Log        *slog.Logger
	Ending     bool         // stop what an earlier keeper has left, with its grace, and end
	NoCgroups  bool         // hold processes together by their sessions, though cgroups may be there
	KilledCode int          // exit status when the keeper ended a stop by itself, and had to kill
	Out        *os.File     // where consumers' output goes that is logged to stdout; nil = nowhere
	Store      *Store       // what FindStore returned
	Ended      func(Exited) // called in the keeper's loop for each run that is over; nil: nobody wants to know

	// For another program to take over, see UpgradeRequest.
	Binary string          // path of the daemon's own program, absolute
	Trial  []string        // arguments with which a program tries it, Trial[0] included; nil = it cannot be asked for
	Carry  json.RawMessage // what the next program wants to find
	Heir   *Heir           // what TakeOver returned
}

// complete fills in what was left out.
func (o *Options) complete() {
	if o.EnginePath == "" {
		o.EnginePath = o.EngineArgv[0]
	}
	if o.EngineEnv == nil {
		o.EngineEnv = os.Environ()
	}
}
