package web

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// session is how long a browser stays let in.
const session = 12 * time.Hour

const cookieName = "qsuper"

// guard decides who is let in.
type guard struct {
	secret [sha256.Size]byte // of the token
	hosts  []string
	cross  *http.CrossOriginProtection
	now    func() time.Time
}

func newGuard(o Options) guard {
	g := guard{secret: sha256.Sum256([]byte(o.Token.Reveal())), cross: http.NewCrossOriginProtection(), now: time.Now}
	g.hosts = append([]string{"localhost", "127.0.0.1", "::1"}, o.Hosts...)
	if host, _, err := net.SplitHostPort(o.Listen); err == nil && host != "" {
		g.hosts = append(g.hosts, host)
	}
	return g
}

// knows compares in constant time.
func (g guard) knows(token string) bool {
	sum := sha256.Sum256([]byte(token))
	return subtle.ConstantTimeCompare(sum[:], g.secret[:]) == 1
}

// bearer says whether the request brings the token itself.
func (g guard) bearer(req *http.Request) bool {
	scheme, token, ok := strings.Cut(req.Header.Get("Authorization"), " ")
	return ok && strings.EqualFold(scheme, "Bearer") && g.knows(strings.TrimSpace(token))
}

// token lets in whoever brings the token: programs.
func (g guard) token(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if !g.bearer(req) {
			refuse(w)
			return
		}
		next.ServeHTTP(w, req)
	})
}

// both lets in programs with the token and browsers with a session.
func (g guard) both(next http.Handler) http.Handler {
	page := g.page(next)
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Header.Get("Authorization") != "" {
			g.token(next).ServeHTTP(w, req)
			return
		}
		page.ServeHTTP(w, req)
	})
}

// page lets in browsers with a session. A request under a name that is not ours
// comes from a page whose own name was pointed at this address; it gets nothing.
func (g guard) page(next http.Handler) http.Handler {
	return g.here(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if !g.inSession(req) {
			refuse(w)
			return
		}
		next.ServeHTTP(w, req)
	}))
}

// here refuses what does not come from this page.
func (g guard) here(next http.Handler) http.Handler {
	same := g.cross.Handler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if !g.ours(req.Host) {
			plain(w, http.StatusMisdirectedRequest, "this daemon is not known by that name: add it to daemon.http.hosts")
			return
		}
		same.ServeHTTP(w, req)
	})
}

func (g guard) ours(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.Trim(name, "[]")
	return slices.ContainsFunc(g.hosts, func(own string) bool { return strings.EqualFold(own, name) })
}

// mark is the proof of a session that ends at a time: nothing is stored, and a
// new token ends all sessions.
func (g guard) mark(ends int64) string {
	m := hmac.New(sha256.New, g.secret[:])
	text := strconv.FormatInt(ends, 10)
	m.Write([]byte("session until " + text))
	return text + "." + hex.EncodeToString(m.Sum(nil))
}

func (g guard) inSession(req *http.Request) bool {
	c, err := req.Cookie(cookieName)
	if err != nil {
		return false
	}
	text, _, _ := strings.Cut(c.Value, ".")
	ends, err := strconv.ParseInt(text, 10, 64)
	return err == nil && g.now().Unix() < ends && hmac.Equal([]byte(c.Value), []byte(g.mark(ends)))
}

// admit begins a session.
func (g guard) admit(w http.ResponseWriter, req *http.Request) {
	ends := g.now().Add(session)
	http.SetCookie(w, &http.Cookie{
		Name: cookieName, Value: g.mark(ends.Unix()), Path: "/", Expires: ends, HttpOnly: true, SameSite: http.SameSiteStrictMode,
		Secure: req.TLS != nil || req.Header.Get("X-Forwarded-Proto") == "https",
	})
}

// leave ends the session in the browser.
func (g guard) leave(w http.ResponseWriter) {
	http.SetCookie(w, &http.Cookie{Name: cookieName, Path: "/", MaxAge: -1, HttpOnly: true, SameSite: http.SameSiteStrictMode})
}

func refuse(w http.ResponseWriter) {
	w.Header().Set("WWW-Authenticate", `Bearer realm="qsuper"`)
	plain(w, http.StatusUnauthorized, "bring the token of daemon.http.token_file: Authorization: Bearer …")
}
