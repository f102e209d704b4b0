package proc

import (
	"bufio"
	"encoding/hex"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// LocalEnds are the own ends of the TCP connections that processes have, as the
// other side sees them unless an address is translated on the way. Processes that
// are gone have none; connections that are not established are left out.
func LocalEnds(pids []int) []netip.AddrPort {
	var ends []netip.AddrPort
	seen := map[netip.AddrPort]bool{}
	for _, pid := range pids {
		inodes := sockets(pid)
		if len(inodes) == 0 {
			continue
		}
		for _, table := range []string{"tcp", "tcp6"} {
			f, err := os.Open("/proc/" + strconv.Itoa(pid) + "/net/" + table) // of the process's own network namespace
			if err != nil {
				continue
			}
			for lines := bufio.NewScanner(f); lines.Scan(); {
				end, inode, ok := parseTCP(lines.Text())
				if ok && inodes[inode] && !seen[end] {
					seen[end] = true
					ends = append(ends, end)
				}
			}
			f.Close()
		}
	}
	return ends
}

// sockets are the inodes of the sockets that a process has open.
func sockets(pid int) map[string]bool {
	dir := "/proc/" + strconv.Itoa(pid) + "/fd/"
	d, err := os.Open(dir)
	if err != nil {
		return nil
	}
	defer d.Close()
	names, _ := d.Readdirnames(-1)
	inodes := map[string]bool{}
	for _, n := range names {
		link, _ := os.Readlink(dir + n)
		if inode, ok := strings.CutPrefix(link, "socket:["); ok {
			inodes[strings.TrimSuffix(inode, "]")] = true
		}
	}
	return inodes
}

// parseTCP reads a line of /proc/net/tcp or tcp6, see proc(5).
func parseTCP(line string) (end netip.AddrPort, inode string, ok bool) {
	const local, state, node, established = 1, 3, 9, "01"
	f := strings.Fields(line)
	if len(f) <= node || f[state] != established {
		return end, "", false
	}
	address, port, _ := strings.Cut(f[local], ":")
	b, err := hex.DecodeString(address)
	n, perr := strconv.ParseUint(port, 16, 16)
	if err != nil || perr != nil || len(b)%4 != 0 {
		return end, "", false
	}
	for i := 0; i < len(b); i += 4 { // words in the order of the machine, which is little-endian wherever this runs
		b[i], b[i+1], b[i+2], b[i+3] = b[i+3], b[i+2], b[i+1], b[i]
	}
	ip, ok := netip.AddrFromSlice(b)
	return netip.AddrPortFrom(ip.Unmap(), uint16(n)), f[node], ok
}

// Tree is a process with its descendants, as they are at the moment.
func Tree(pid int) []int {
	tree, buf := []int{pid}, make([]byte, 4096)
	for i := 0; i < len(tree); i++ { // it grows on the way
		tree = children(tree[i], tree, buf)
	}
	return tree
}
