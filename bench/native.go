package main

import (
	"embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

//go:embed native/*.c native/*.h
var nativeSources embed.FS

// programs are the compiled C programs, as absolute paths.
type programs struct {
	floor   string // the yardstick
	child   string // waits for TERM
	exitNow string // exits 0 at once
	writer  string // fills its output
}

// tinyFlags build a static program without libc and with as few mappings as
// possible: execve then costs 0.06 ms instead of 0.7 ms, and what remains to be
// measured is the supervisor.
var tinyFlags = []string{"-static", "-nostdlib", "-ffreestanding", "-fno-stack-protector", "-fno-pie", "-no-pie",
	"-Wl,-z,norelro,-z,noseparate-code,--build-id=none"}

// compile builds the embedded C sources in dir.
func compile(dir string) (programs, error) {
	entries, err := nativeSources.ReadDir("native")
	if err != nil {
		return programs{}, err
	}
	for _, e := range entries {
		text, err := nativeSources.ReadFile("native/" + e.Name())
		if err != nil {
			return programs{}, err
		}
		if err := os.WriteFile(filepath.Join(dir, e.Name()), text, 0o644); err != nil {
			return programs{}, err
		}
	}
	built := programs{
		floor:   filepath.Join(dir, "floor"),
		child:   filepath.Join(dir, "child"),
		exitNow: filepath.Join(dir, "exitnow"),
		writer:  filepath.Join(dir, "writer"),
	}
	for _, target := range []string{built.floor, built.child, built.exitNow, built.writer} {
		args := []string{"-std=gnu11", "-O2", "-w", "-o", target, target + ".c"}
		if target == built.floor {
			args = append(args, "-static")
		} else {
			args = append(args, tinyFlags...)
		}
		if out, err := exec.Command("gcc", args...).CombinedOutput(); err != nil {
			return programs{}, fmt.Errorf("compile %s.c: %w\n%s", filepath.Base(target), err, out)
		}
	}
	return built, nil
}

// tool is a command that must be installed, and the Debian package that has it.
type tool struct{ command, debianPackage string }

// missingPackages returns the Debian packages without which the tools, or the
// C compiler, are not there.
func missingPackages(tools []tool) []string {
	var missing []string
	seen := map[string]bool{}
	add := func(name string) {
		if !seen[name] {
			seen[name] = true
			missing = append(missing, name)
		}
	}
	for _, t := range append([]tool{{"gcc", "gcc"}}, tools...) {
		if _, err := exec.LookPath(t.command); err != nil {
			add(t.debianPackage)
		}
	}
	// gcc only recommends the C library's headers and archives. It answers with
	// the bare name when it does not know where the file is.
	out, err := exec.Command("gcc", "-print-file-name=libc.a").Output()
	if err != nil || !filepath.IsAbs(strings.TrimSpace(string(out))) {
		add("libc6-dev")
	}
	return missing
}
