package web

import (
	"embed"
	"io/fs"
	"net/http"
)

//go:embed site
var files embed.FS

// site adds the page to a mux: the login to anybody under our name, the rest to
// browsers in a session.
func (d *Door) site(mux *http.ServeMux) {
	root, err := fs.Sub(files, "site")
	if err != nil {
		panic(err) // the folder is part of the binary
	}
	static := http.FileServerFS(root)
	for _, name := range []string{"style.css", "login.js", "icon.svg"} { // what the login needs
		mux.Handle("GET /"+name, d.guard.here(static))
	}
	scripts, _ := fs.Glob(root, "*.js") // the pattern is well formed
	for _, name := range scripts {
		if name != "login.js" {
			mux.Handle("GET /"+name, d.guard.page(static))
		}
	}
	mux.Handle("GET /login", d.guard.here(page(root, "login.html")))
	mux.Handle("POST /login", d.guard.here(http.HandlerFunc(d.login)))
	mux.Handle("POST /logout", d.guard.here(http.HandlerFunc(d.logout)))
	mux.Handle("GET /live", d.guard.page(http.HandlerFunc(d.live)))
	mux.Handle("GET /history", d.guard.both(http.HandlerFunc(d.history)))
	mux.Handle("GET /{$}", d.guard.here(d.orLogin(page(root, "index.html"))))
}

func page(root fs.FS, name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		http.ServeFileFS(w, req, root, name)
	})
}

// orLogin shows the way to those who are not in a session.
func (d *Door) orLogin(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if !d.guard.inSession(req) {
			http.Redirect(w, req, "/login", http.StatusSeeOther)
			return
		}
		next.ServeHTTP(w, req)
	})
}

// login takes the token once and gives a session.
func (d *Door) login(w http.ResponseWriter, req *http.Request) {
	req.Body = http.MaxBytesReader(w, req.Body, maxHeader)
	if !d.guard.knows(req.PostFormValue("token")) {
		d.log.Warn("a wrong token was given to the page", "from", req.RemoteAddr)
		http.Redirect(w, req, "/login?wrong", http.StatusSeeOther)
		return
	}
	d.guard.admit(w, req)
	http.Redirect(w, req, "/", http.StatusSeeOther)
}

func (d *Door) logout(w http.ResponseWriter, req *http.Request) {
	d.guard.leave(w)
	http.Redirect(w, req, "/login", http.StatusSeeOther)
}
