package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"qsuper/config"
	"qsuper/control"
)

// The exit codes of every command; the list in the root's help is made of them.
const (
	exitDone      = 0
	exitFailed    = 1
	exitUsage     = 2
	exitUnhealthy = 3
	exitNoDaemon  = 4
	exitKilled    = 5
	exitHeld      = 75 // EX_TEMPFAIL of sysexits.h
	exitConfig    = 78 // EX_CONFIG of sysexits.h
)

var exitCodes = []struct {
	code    int
	meaning string
}{
	{exitDone, "done"},
	{exitFailed, "error"},
	{exitUsage, "wrong usage"},
	{exitUnhealthy, "status: something that should be up is not, crash loops included"},
	{exitNoDaemon, "no daemon answers"},
	{exitKilled, "done, but something had to be killed"},
	{exitHeld, "another daemon holds this state directory"},
	{exitConfig, "the file is wrong"},
}

// exitHelp lists codes for the help of a command; without codes, all of them.
func exitHelp(codes ...int) string {
	text := "\n\nExit codes:\n"
	for _, c := range exitCodes {
		listed := len(codes) == 0
		for _, code := range codes {
			listed = listed || code == c.code
		}
		if listed {
			text += fmt.Sprintf("  %2d  %s\n", c.code, c.meaning)
		}
	}
	return text[:len(text)-1]
}

// exitError ends the program with a code of its own. Without err nothing is
// printed: the command has said everything.
type exitError struct {
	code int
	err  error
	hint string
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// Hint says what to do next.
func (e *exitError) Hint() string { return e.hint }

func exit(code int) error { return &exitError{code: code} }

func usage(hint, format string, args ...any) error {
	return &exitError{code: exitUsage, err: fmt.Errorf(format, args...), hint: hint}
}

// exitCode is the one place where an error becomes an exit code.
func exitCode(err error) int {
	if err == nil {
		return exitDone
	}
	if e, ok := errors.AsType[*exitError](err); ok {
		return e.code
	}
	if _, ok := errors.AsType[*control.NoDaemon](err); ok {
		return exitNoDaemon
	}
	if _, ok := errors.AsType[*control.Hung](err); ok {
		return exitNoDaemon
	}
	if _, ok := errors.AsType[*control.InUse](err); ok {
		return exitHeld
	}
	if _, ok := errors.AsType[*config.Error](err); ok {
		return exitConfig
	}
	return exitFailed
}

// report prints an error once, with the hint it carries.
func report(w io.Writer, err error) {
	if e, ok := errors.AsType[*exitError](err); ok && e.err == nil {
		return
	}
	if errors.Is(err, context.Canceled) {
		fmt.Fprintln(w, "qsuper: interrupted")
		return
	}
	fmt.Fprintf(w, "qsuper: %s\n", escape(err.Error(), "\n"))
	hinted, ok := errors.AsType[interface {
		error
		Hint() string
	}](err)
	if ok && hinted.Hint() != "" {
		fmt.Fprintf(w, "hint: %s\n", escape(hinted.Hint(), "\n"))
	}
}
