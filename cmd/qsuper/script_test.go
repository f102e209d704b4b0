package main

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestScripts runs the whole program as a user does; each script is one story.
// `daemon SCENARIO` answers with a made-up fleet at $QSUPER_SOCKET.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("QSUPER_SOCKET", filepath.Join(e.WorkDir, "q.sock"))
			e.Setenv("LANG", "C.UTF-8")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"daemon": func(ts *testscript.TestScript, _ bool, args []string) {
				d := scenario(args[0], time.Now())
				ts.Defer(serveAt(t, d, ts.Getenv("QSUPER_SOCKET")))
			},
			"code": checkCode,
		},
	})
}

// checkCode is `code N COMMAND…`: the command must end with exactly this exit code.
func checkCode(ts *testscript.TestScript, _ bool, args []string) {
	err := ts.Exec(args[1], args[2:]...)
	got := "0"
	if err != nil {
		got = err.Error()
	}
	if want := args[0]; got != want && got != "exit status "+want {
		ts.Fatalf("%v ended with %s, want %s", args[1:], got, want)
	}
}
