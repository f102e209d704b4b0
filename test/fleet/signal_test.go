package fleet

import (
	"os"
	"os/signal"
	"syscall"
)

func ignore()                   { signal.Ignore(syscall.SIGTERM) }
func notify(end chan os.Signal) { signal.Notify(end, syscall.SIGTERM) }
