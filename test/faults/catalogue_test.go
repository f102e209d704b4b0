package faults

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// entry is one fault of the catalogue that scores 9 or more, and where it is shown:
// by cases of this package, whose names begin with its number, or by tests elsewhere.
type entry struct {
	id, fault string
	score     int
	shown     string // "cases", or "package Test…" of others, apart by commas
}

// catalogue is what the fault suite has to cover. Scores of 15 and more are part of
// `make test`, and all of it is part of `make faults`.
var catalogue = []entry{
	{"F001", "engine killed under busy consumers", 20, "cases"},
	{"F002", "keeper killed, and both", 20, "cases"},
	{"F003", "way to the lock store cut", 20, "lease TestRandomSchedules, lease/backends TestMySQL, lease/backends TestPostgres, test/hosts TestHosts"},
	{"F004", "a hundred daemons at once", 20, "cases"},
	{"F005", "engine stopped", 20, "cases, test/fleet TestAStoppedEngineLosesTheSlotInTime"},
	{"F006", "lock store stopped", 20, "test/fleet TestAStoreThatGoesAway, test/hosts TestHosts"},
	{"F007", "consumer needs most of its grace", 20, "cases"},
	{"F008", "the daemon is told to end with busy consumers", 20, "cases, test/systemd TestALongGraceIsHonoured, test/systemd TestAStopThatIsCutOff"},
	{"F009", "stop and stop-workers while starting and backing off", 20, "cases"},
	{"F010", "grandchildren in sessions of their own", 20, "cases"},
	{"F011", "forked twice with everything closed", 20, "cases"},
	{"F013", "rotation under load", 20, "cases"},
	{"F014", "log disk full", 20, "cases"},
	{"F015", "log directory removed, read-only", 16, "cases"},
	{"F017", "reload of a broken file", 16, "cases"},
	{"F018", "broker dies and consumers with it", 20, "cases"},
	{"F019", "broker down at start", 20, "cases"},
	{"F020", "one host cut off from the lock store", 16, "lease TestRandomSchedules, test/hosts TestHosts"},
	{"F021", "broker accepts and never answers", 16, "cases"},
	{"F022", "a consumer's connection is silently gone", 20, "cases"},
	{"F023", "another user at the control socket", 15, "cases, control TestOtherUsers"},
	{"F024", "TCP without a token", 15, "config TestBadFiles, test TestDoorOverTCP"},
	{"F025", "wrong, empty and long tokens", 15, "web TestWhoIsLetIn"},
	{"F026", "secrets when authentication fails", 15, "cases"},
	{"F027", "job longer than its interval", 16, "cases"},
	{"F028", "fork bomb", 16, "cases"},
	{"F029", "Redis fails over", 15, "test/fleet TestRedisLosesTheKeys"},
	{"F031", "a helper keeps the lock", 15, "cases"},
	{"F032", "few descriptors", 12, "cases"},
	{"F033", "engine killed during a stop", 15, "cases"},
	{"F034", "ten thousand zombies", 9, "cases"},
	{"F035", "upgrade under many consumers", 16, "cases, test TestUpgrade, keeper TestConsumersDoNotNoticeAnUpgrade"},
	{"F037", "crashes at once for ever", 15, "cases"},
	{"F038", "exits cleanly at once", 15, "cases"},
	{"F039", "broker back with many slots due", 12, "cases"},
	{"F040", "queue, vhost missing", 12, "cases"},
	{"F041", "wrong broker password", 12, "cases"},
	{"F043", "clock changes in six zones", 12, "schedule TestClockChanges, schedule TestFixedTimesComeOncePerDay"},
	{"F044", "a number is used again", 10, "cases"},
	{"F046", "a thousand lines in the TERM handler", 12, "cases"},
	{"F048", "one consumer floods", 12, "cases"},
	{"F049", "file empty or gone", 16, "cases"},
	{"F051", "names twice", 12, "config TestBadFiles"},
	{"F052", "odd files", 12, "config TestBadFiles, config TestGoodFiles"},
	{"F053", "a file that explodes", 9, "cases"},
	{"F054", "requires what is not there", 12, "config TestBadFiles"}, // consumers do not require each other
	{"F055", "program missing", 12, "cases"},
	{"F056", "socket replaced, directory of somebody else", 10, "cases, control TestForeignDirectoryIsRefused"},
	{"F058", "names of methods", 10, "control TestNonsenseIsRefused"},
	{"F059", "huge bodies", 9, "control TestHugeBodies, control TestHugeHeader"},
	{"F060", "slow clients", 9, "control TestSlowloris, web TestManyConnections"},
	{"F061", "many clients, readers that never read", 9, "cases, control TestReadersThatNeverRead"},
	{"F062", "other sites, rebinding, frames", 10, "web TestWhoIsLetIn, web TestSession, web TestNothingInline"},
	{"F063", "names that are paths", 10, "cases"},
	{"F064", "secret in the arguments of a consumer", 10, "config TestExposedSecrets, lock/backends/file TestHolderWithoutOptions"},
	{"F065", "daemon down across fires", 12, "cases"},
	{"F067", "two hosts, the same fire", 12, "lease TestOneHostGetsAFire"},
	{"F068", "odd schedules", 9, "schedule TestParseCronRefuses, schedule TestParseTimetableRefuses"},
	{"F069", "reload around fires", 9, "cases"},
	{"F070", "zones", 9, "config TestBadFiles"},
	{"F071", "clock set", 12, "cases"},
	{"F072", "clock slewed, leap second, first answer of a time server", 9, "cases"},
	{"F073", "paused, then crashes", 12, "cases"},
	{"F074", "idle and time limits from outside", 12, "test TestFromZeroToFourAndBack, runner TestStartsRecyclesAndStops"},
	{"F075", "killed for want of memory", 12, "cases"},
	{"F077", "no descriptors, in the engine and on the host", 9, "cases"},
	{"F078", "no memory for a start", 9, "cases"},
	{"F080", "no threads", 9, "cases"},
	{"F087", "users and groups", 10, "keeper TestUserAndGroupsAreExact, config TestUsersOfTheDirectory"},
	{"F088", "the user cannot be set", 10, "cases"},
	{"F090", "odd names of slots", 10, "config TestBadFiles"},
	{"F094", "a process that does not die", 9, "cases"},
	{"F097", "broker flaps", 12, "cases"},
	{"F098", "broker slow", 9, "cases"},
	{"F099", "TLS gone wrong", 9, "health/backends TestRabbitMQTLS, health/backends TestPostgresTLS, health/backends TestMySQLTLS"},
	{"F104", "sessions that the database ends", 12, "lease/backends TestMySQL"}, // leases are rows: no session has to live
	{"F105", "poolers", 10, "lease/backends TestPostgres"},                      // likewise: each request is one statement
	{"F106", "the database is started again", 10, "test/fleet TestAStoreThatGoesAway, lease TestRandomSchedules"},
	{"F107", "etcd loses its leader", 10, "test/fleet TestEtcdLosesMembers"},
	{"F109", "the answer of a store is lost", 10, "lease TestRandomSchedules, lease/backends TestZooKeeper"},
	{"F111", "a host stands still", 10, "lease TestRandomSchedules, keeper TestTheKeeperFencesAlone"},
	{"F116", "odd numbers", 9, "config TestBadFiles"},
	{"F117", "numbers that are too large, times too short", 9, "config TestBadFiles, lease TestWhatCannotBeSafeIsRefused"},
	{"F136", "ignores every signal", 20, "cases"},
	{"F137", "lock store killed and started again", 15, "test/fleet TestAStoreThatGoesAway, lease TestRandomSchedules"},
	{"F139", "plain shells under kills", 12, "cases"},
	{"F140", "power cut, host shut down", 12, "cases"},
}

// TestCatalogue holds the catalogue against the tests that there are.
func TestCatalogue(t *testing.T) {
	cases := allFaults()
	for _, e := range catalogue {
		always := false
		for shown := range strings.SplitSeq(e.shown, ", ") {
			if shown != "cases" {
				always = true
				if !exists(t, shown) {
					t.Errorf("%s %s: there is no %s", e.id, e.fault, shown)
				}
				continue
			}
			n := 0 // of cases
			for _, c := range cases {
				if strings.HasPrefix(c.name, e.id+"_") {
					n++
					always = always || c.kind == quick && c.score >= 15
				}
			}
			if n == 0 {
				t.Errorf("%s %s: there is no case", e.id, e.fault)
			}
		}
		if e.score >= 15 && !always {
			t.Errorf("%s %s: scores %d and is not part of every run", e.id, e.fault, e.score)
		}
	}
	for _, c := range cases {
		if id, _, _ := strings.Cut(c.name, "_"); c.score >= 9 && strings.HasPrefix(id, "F") &&
			!slices.ContainsFunc(catalogue, func(e entry) bool { return e.id == id }) && !beyond[id] {
			t.Errorf("%s is of no entry", c.name)
		}
	}
}

// TestElsewhere runs, together with all cases, the tests of other packages that show
// faults of the catalogue.
func TestElsewhere(t *testing.T) {
	if os.Getenv("QSUPER_FAULTS") != "all" {
		return // they are run where they are
	}
	names := map[string][]string{}
	for _, e := range catalogue {
		for shown := range strings.SplitSeq(e.shown, ", ") {
			if dir, name, ok := strings.Cut(shown, " "); ok && !slices.Contains(names[dir], name) {
				names[dir] = append(names[dir], name)
			}
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(names)) {
		t.Run(dir, func(t *testing.T) {
			c := exec.Command("go", "test", "-count=1", "-timeout", "10m", "-run", "^("+strings.Join(names[dir], "|")+")$", "./"+dir)
			c.Dir = filepath.Join("..", "..")
			if out, err := c.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			} else {
				t.Logf("%s: %s", strings.Join(names[dir], ", "), out)
			}
		})
	}
}

// beyond are entries that the catalogue has no score of 9 for, or does not have.
var beyond = map[string]bool{"F036": true, "F047": true, "F066": true, "F076": true, "F081": true, "F084": true, "F085": true, "F095": true, "F101": true, "F122": true, "F123": true}

// exists says whether a package, from the root of the repository, has a test.
func exists(t *testing.T, shown string) bool {
	t.Helper()
	dir, name, _ := strings.Cut(shown, " ")
	files, _ := filepath.Glob(filepath.Join("..", "..", dir, "*_test.go"))
	def := regexp.MustCompile(`(?m)^func ` + regexp.QuoteMeta(name) + `\(t \*testing\.T\)`)
	return slices.ContainsFunc(files, func(file string) bool {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return def.Match(text)
	})
}
