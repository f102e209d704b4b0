// Package pattern holds regular expressions back until somebody needs them. The
// program has some fifty, and to compile them all would take every one of its
// commands longer than most of these take to do their work.
package pattern

import (
	"regexp"
	"sync"
)

// Lazy is regexp.MustCompile at the first call of what it returns, which may be
// called from any goroutine.
func Lazy(expr string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expr) })
}
