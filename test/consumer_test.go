package test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	_ "modernc.org/sqlite"
)

// consumerEnv makes the test binary a consumer; its value says which: worker,
// serial (one at a time works, as behind a lock in a database), crashing or stubborn.
const consumerEnv = "TEST_CONSUMER"

// consume is a consumer as people write them in Go; it returns the exit code.
// Its environment: TEST_DB (SQLite file of layout plain), TEST_QUEUE,
// TEST_HANDLED and TEST_PROCESSES (journals), TEST_WORK_MS. Its argument
// --max-messages=N ends it after so many.
func consume() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	note(os.Getenv("TEST_PROCESSES"), entry{Event: "start"})
	switch os.Getenv(consumerEnv) {
	case "crashing":
		fmt.Println("there is no shop here")
		return 7
	case "stubborn":
		<-ctx.Done()
		fmt.Println("not now")
		<-time.After(time.Hour)
	}
	if err := work(ctx); err != nil {
		fmt.Println(err)
		return 1
	}
	note(os.Getenv("TEST_PROCESSES"), entry{Event: "end"})
	return 0
}

// work handles messages until it has had enough, or ctx is done: then it
// finishes the one it has.
func work(ctx context.Context) error {
	db, err := openSQLite(os.Getenv("TEST_DB"))
	if err != nil {
		return err
	}
	defer db.Close()
	ms, _ := strconv.Atoi(os.Getenv("TEST_WORK_MS"))
	for n, most := 0, maxMessages(); (most == 0 || n < most) && ctx.Err() == nil; {
		id, err := take(db)
		if errors.Is(err, sql.ErrNoRows) {
			select {
			case <-time.After(20 * time.Millisecond):
			case <-ctx.Done():
			}
			continue
		}
		if err != nil {
			return fmt.Errorf("take a message: %w", err)
		}
		leave, err := enter()
		if err != nil {
			return err
		}
		began := time.Now()
		<-time.After(time.Duration(ms) * time.Millisecond)
		leave()
		note(os.Getenv("TEST_HANDLED"), entry{ID: strconv.Itoa(id), Start: unix(began), End: unix(time.Now())})
		if _, err := db.Exec("UPDATE messages SET done_at = unixepoch() WHERE id = ?", id); err != nil {
			return fmt.Errorf("finish message %d: %w", id, err)
		}
		fmt.Printf("handled %d\n", id)
		n++
	}
	return nil
}

// enter waits for its turn, if it is serial.
func enter() (leave func(), err error) {
	if os.Getenv(consumerEnv) != "serial" {
		return func() {}, nil
	}
	f, err := os.OpenFile(os.Getenv("TEST_DB")+".turn", os.O_CREATE|os.O_RDWR, 0o600)
	if err == nil {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
	}
	return func() { _ = f.Close() }, err
}

func maxMessages() int {
	for _, arg := range os.Args[1:] {
		if text, ok := strings.CutPrefix(arg, "--max-messages="); ok {
			n, _ := strconv.Atoi(text)
			return n
		}
	}
	return 0
}

func take(db *sql.DB) (id int, err error) {
	err = db.QueryRow(`UPDATE messages SET taken_at = unixepoch(), taken_by = ? WHERE id =
		(SELECT id FROM messages WHERE queue = ? AND taken_at IS NULL AND done_at IS NULL AND available_at <= unixepoch() ORDER BY id LIMIT 1)
		RETURNING id`, os.Getenv("QSUPER_SLOT"), os.Getenv("TEST_QUEUE")).Scan(&id)
	return id, err
}

// openSQLite opens a file that several processes write.
func openSQLite(path string) (*sql.DB, error) {
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(30000)&_pragma=journal_mode(WAL)&_pragma=synchronous(OFF)&_txlock=immediate")
	if err == nil {
		db.SetMaxOpenConns(1)
	}
	return db, err
}

// note appends a line to a journal: one write to a file opened with O_APPEND,
// so that lines of several processes never mix.
func note(name string, e entry) {
	if name == "" {
		return
	}
	e.PID, e.Slot, e.Run = os.Getpid(), os.Getenv("QSUPER_SLOT"), os.Getenv("QSUPER_RUN_ID")
	line, err := json.Marshal(e)
	if err != nil {
		panic(err)
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		panic(err)
	}
	defer f.Close()
	if _, err := f.Write(append(line, '\n')); err != nil {
		panic(err)
	}
}
