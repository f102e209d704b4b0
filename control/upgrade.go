package control

import (
	"context"
	"net/http"
	"path/filepath"
	"time"
)

// trialLimit is how long the trial of a binary may take in addition to what any
// answer may: the keeper ends one after 10 s.
const trialLimit = 15 * time.Second

// Upgrade is the body of POST /v1/upgrade.
type Upgrade struct {
	Binary string `json:"binary,omitempty"` // absolute path; "" = what lies now where the daemon was started from
	By     string `json:"by,omitempty"`     // filled in by the server, as in Command
}

// UpgradeReply answers POST /v1/upgrade.
type UpgradeReply struct {
	Binary    string `json:"binary"`
	Home      string `json:"home"`               // what the next start of the daemon will execute, unless whoever starts it has been changed
	From      string `json:"from"`               // version that runs
	To        string `json:"to"`                 // version that takes over
	EnginePID int    `json:"engine_pid"`         // of the engine that has answered: it ends, and the next one has another
	Refused   string `json:"refused,omitempty"`  // why the binary cannot take over; nothing has changed
	BadFile   bool   `json:"bad_file,omitempty"` // it is the file that is wrong
}

func (s *Server) upgrade(w http.ResponseWriter, req *http.Request) error {
	var u Upgrade
	if err := s.body(w, req, &u); err != nil {
		return err
	}
	if u.Binary != "" && !filepath.IsAbs(u.Binary) {
		return &Invalid{Problem: "the path of a binary must be absolute: the daemon has another working directory", Advice: "begin it with /"}
	}
	peer := peerFrom(req.Context())
	u.By = peer.Name()
	s.audit(peer, "upgrade", "binary", u.Binary)
	r, err := s.daemon.Upgrade(req.Context(), u)
	if err != nil {
		return err
	}
	return s.reply(w, r)
}

// Upgrade is POST /v1/upgrade. A binary that cannot take over is a reply with
// Refused.
func (c *Client) Upgrade(ctx context.Context, u Upgrade) (UpgradeReply, error) {
	ctx, cancel := c.bounded(ctx, trialLimit+answerLimit)
	defer cancel()
	var r UpgradeReply
	err := c.tell(ctx, "/v1/upgrade", u, &r)
	return r, hung(ctx, err)
}
