package control

import (
	"net/http"
	"net/url"
	"os"
)

// fileHeader names the file whose daemon a request is for.
const fileHeader = "Qsuper-File"

// misdirected is a request for the daemon of another file. HTTP 421.
type misdirected struct{ file, runs, socket string }

func (e *misdirected) Error() string {
	return "no daemon runs " + e.file + ": the one at " + e.socket + " runs " + e.runs
}

// meant says whether a request is for this daemon. A file may have several names.
func (s *Server) meant(req *http.Request) error {
	file, err := url.PathUnescape(req.Header.Get(fileHeader))
	if err != nil || file == "" || file == s.opts.File || s.opts.File == "" {
		return nil
	}
	there, err := os.Stat(file)
	if err == nil {
		if ours, err := os.Stat(s.opts.File); err == nil && os.SameFile(there, ours) {
			return nil
		}
	}
	return &misdirected{file, s.opts.File, s.opts.Path}
}
