package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"qsuper/internal/kind"
)

// Problem is one thing that is wrong with a file, with its place.
type Problem = kind.Problem

// Error is everything that is wrong with a file and its includes, sorted by place.
type Error struct {
	Problems []Problem
	read     *Config // what there is besides; nil: nothing
}

// Nobody reads more at once; a reload's answer and a log line stay bounded.
const maxShown = 100

// Error lists the problems, one line each: file:line:column: path: message (hint).
func (e *Error) Error() string {
	shown := kind.Problems(e.Problems[:min(len(e.Problems), maxShown)]).Error()
	if more := len(e.Problems) - maxShown; more > 0 {
		shown += fmt.Sprintf("\n… and %d more", more)
	}
	return shown
}

// arrange sorts problems by place, files in the order they were read, and drops
// repetitions: a mistake in `defaults` shows up in every consumer, but is one.
func arrange(problems []Problem, files []string) []Problem {
	order := make(map[string]int, len(files))
	for i, f := range files {
		order[f] = i
	}
	slices.SortStableFunc(problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(order[a.File], order[b.File]), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	type spot struct {
		file         string
		line, column int
		message      string
	}
	seen := make(map[spot]bool, len(problems))
	return slices.DeleteFunc(problems, func(p Problem) bool {
		s := spot{p.File, p.Line, p.Column, p.Message}
		repeated := seen[s] && p.Line > 0
		seen[s] = true
		return repeated
	})
}

// under reports whether path is at or below the section.
func under(path, section string) bool {
	rest, ok := strings.CutPrefix(path, section)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}
