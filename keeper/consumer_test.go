package keeper

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// playConsumer is a process that misbehaves as its arguments say, one after the
// other, and then sleeps. It prints "ready" before it does so.
func playConsumer(args []string) {
	for len(args) > 0 {
		word := args[0]
		args = args[1:]
		arg := func() string {
			a := args[0]
			args = args[1:]
			return a
		}
		switch word {
		case "ignore-term":
			signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
		case "on-term": // DURATION CODE
			wait, _ := time.ParseDuration(arg())
			code, _ := strconv.Atoi(arg())
			ch := make(chan os.Signal, 1)
			signal.Notify(ch, syscall.SIGTERM)
			go func() {
				<-ch
				<-time.After(wait)
				os.Exit(code)
			}()
		case "exit":
			code, _ := strconv.Atoi(arg())
			os.Exit(code)
		case "close-fds":
			unix.CloseRange(3, 1<<30, 0)
		case "flood": // LINES
			n, _ := strconv.Atoi(arg())
			for i := range n {
				fmt.Println("line", i)
			}
		case "stop-self":
			fmt.Println("ready")
			unix.Kill(os.Getpid(), unix.SIGSTOP)
		case "leave": // ARGS… up to "end": a child in the same group
			var child []string
			for a := arg(); a != "end"; a = arg() {
				child = append(child, a)
			}
			c := exec.Command("/proc/self/exe", child...)
			c.Stdout = os.Stdout
			if err := c.Start(); err != nil {
				fmt.Println(err)
			}
			fmt.Println("left", c.Process.Pid)
		case "wait-for": // FILE
			for name := arg(); ; {
				if _, err := os.Stat(name); err == nil {
					break
				}
				<-time.After(5 * time.Millisecond)
			}
		case "away": // a child in a session of its own that nothing tells of
			c := exec.Command("/bin/sh", "-c", "sleep 0.3")
			c.Env = []string{}
			c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
			if err := c.Start(); err != nil {
				fmt.Println(err)
			}
		}
	}
	fmt.Println("ready")
	<-time.After(time.Hour)
}
