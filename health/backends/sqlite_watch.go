package backends

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"

	"qsuper/health"
)

// sqliteEchoes are the moments after a change at which is looked once more: a
// transaction is in the file a little before it can be seen, for as long as its
// writer waits for the disk.
var sqliteEchoes = []time.Duration{10 * time.Millisecond, 50 * time.Millisecond, 250 * time.Millisecond}

// sqliteMoved is how often is checked that the path still names the same file,
// which a folder on the way to it may change unseen.
const sqliteMoved = time.Minute

// Watch tells of every change of the file, by whomever: also of what consumers
// write when they take messages, which costs a look. It watches the folder, in
// which the file, its log and its journal come and go.
func (c *sqliteFile) Watch(ctx context.Context, _ []health.Queue, wake func()) error {
	ctx, cancel := c.life.during(ctx)
	defer cancel()
	file, err := os.Stat(c.path)
	if err != nil {
		return err
	}
	path := filepath.Clean(c.path)
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch %s: %w", path, err)
	}
	defer w.Close()
	for _, folder := range []string{filepath.Dir(real), filepath.Dir(path)} {
		if err := w.Add(folder); err != nil {
			return fmt.Errorf("watch %s: %w", folder, err)
		}
	}
	// What is done to the names themselves may make them another file's.
	names := map[string]bool{real: true, path: true, real + "-wal": false, real + "-journal": false}
	wake()
	return c.changes(ctx, w, names, file, wake)
}

// changes waits for those of names, until the path names another file.
func (c *sqliteFile) changes(ctx context.Context, w *fsnotify.Watcher, names map[string]bool, file os.FileInfo, wake func()) error {
	moved := time.NewTicker(sqliteMoved)
	defer moved.Stop()
	echo := time.NewTimer(time.Hour)
	echo.Stop()
	defer echo.Stop()
	for echoes := 0; ; {
		check := false
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e := <-w.Events:
			itself, known := names[e.Name]
			if !known || e.Op == fsnotify.Chmod {
				continue
			}
			check = itself && e.Op != fsnotify.Write
			echoes = 0
			echo.Reset(sqliteEchoes[0])
			wake()
		case err := <-w.Errors: // so many at once that some were lost
			if err == nil {
				return errClosed
			}
			wake()
		case <-echo.C:
			if echoes++; echoes < len(sqliteEchoes) {
				echo.Reset(sqliteEchoes[echoes])
			}
			wake()
		case <-moved.C:
			check = true
		}
		if !check {
			continue
		}
		if now, err := os.Stat(c.path); err != nil || !os.SameFile(now, file) {
			return fmt.Errorf("%s is another file now", c.path)
		}
	}
}
