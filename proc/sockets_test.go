package proc

import (
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
)

// The ends of connections of both families are those that the other side sees.
func TestLocalEnds(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		before := LocalEnds([]int{os.Getpid()})
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		s, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		seen := s.RemoteAddr().(*net.TCPAddr).AddrPort()
		ends := LocalEnds([]int{os.Getpid(), 1 << 30})
		if !slices.Contains(ends, netip.AddrPortFrom(seen.Addr().Unmap(), seen.Port())) || slices.Contains(before, seen) {
			t.Errorf("%v is not in %v", seen, ends)
		}
	}
}

func TestParseTCP(t *testing.T) {
	const tail = " 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0000000000000000 20 4 30 10 -1"
	for line, want := range map[string]string{
		"0: 0100007F:1F90 0100007F:C001 01" + tail:                                                 "127.0.0.1:8080",
		"0: 0000000000000000FFFF00000100007F:1F90 0000000000000000FFFF00000100007F:C001 01" + tail: "127.0.0.1:8080",
		"0: 00000000000000000000000001000000:0001 00000000000000000000000001000000:C001 01" + tail: "[::1]:1",
		"0: 0100007F:1F90 00000000:0000 0A" + tail:                                                 "",
		"sl  local_address rem_address   st":                                                       "",
		"0: 01007F:1F90 0100007F:C001 01" + tail:                                                   "",
		"0: 0100007F:11F90 0100007F:C001 01" + tail:                                                "",
	} {
		end, inode, ok := parseTCP(line)
		if ok != (want != "") || ok && (end.String() != want || inode != "4711") {
			t.Errorf("%s: %v, %s, %v", line, end, inode, ok)
		}
	}
}
