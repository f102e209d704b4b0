package test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"qsuper/test/servers"
)

const pageToken = "a-token-of-24-characters"

// TestPage uses the page as a person does, in a real browser: signs in with a
// wrong token and with the right one, sees the fleet live, pauses a consumer
// with the keyboard alone, reads why another one waits, follows output, and sees
// the engine die and come back. QSUPER_SHOTS names a directory for pictures.
func TestPage(t *testing.T) {
	addr := freeAddress(t)
	q := newQueue(t)
	d := newDaemon(t, fmt.Sprintf(`  http: {listen: "%s", token_file: token}
connections:
  db: {type: sqlite, path: %s}
  gone: {type: tcp, address: "127.0.0.1:1"}
consumers:
  orders: {shell: "i=0; while :; do i=$((i+1)); echo handled order $i; sleep 0.3; done", instances: 3, group: shop}
  emails: {command: [sleep, "1000"], queue: {connection: db, name: orders}, instances: {min: 0, max: 4, per_instance: 10}}
  broken: {command: ["false"], backoff: {initial: 5s, max: 10s}}
  needy: {command: [sleep, "1000"], requires: [gone]}
  media.storage.catalog.image.resize: {command: [sleep, "1000"]}
jobs:
  nightly: {schedule: "30 2 * * *", timezone: Europe/Berlin, shell: "echo all is counted"}
`, addr, q.path()))
	if err := os.WriteFile(d.Path("token"), []byte(pageToken), 0o600); err != nil {
		t.Fatal(err)
	}
	q.publish(25)
	d.Start()
	b := browse(t)
	b.do("sign in with a wrong token", chromedp.Navigate("http://"+addr+"/"), chromedp.SendKeys("input[name=token]", "wrong"+kb.Enter),
		chromedp.WaitVisible("#wrong"))
	b.shot("login")
	b.do("sign in", chromedp.SendKeys("input[name=token]", pageToken+kb.Enter), chromedp.WaitVisible(".fleet tbody tr"))
	b.sees("the fleet", `rows().orders.includes("3/3") && rows().emails.includes("25") && /Mi?B|KiB/.test(rows().emails) && rows().broken.includes("backoff") && rows().needy.includes("gone")`)
	b.sees("the connection's trouble", `/Connection gone is down since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d: /.test(text("#banner"))`)
	b.shot("fleet")
	b.do("in the dark", emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}}))
	b.shot("fleet-dark")
	b.do("on a phone", chromedp.EmulateViewport(390, 844, chromedp.EmulateScale(2)))
	for _, page := range []string{"/", "/jobs", "/connections", "/events", "/j/nightly", "/c/emails"} {
		b.do("look at "+page, chromedp.Evaluate(`location.hash = "#`+page+`"`, nil))
		b.sees("a page", `document.querySelectorAll("main tbody tr").length > 0`)
		b.sees("no sideways scrolling", `document.documentElement.scrollWidth <= 390`)
		b.sees("nothing of the head or of a list of instances is out of sight", `["nav", ".scroll.tall"].every((s) => { const n = document.querySelector(s); return !n || n.scrollWidth <= n.clientWidth; })`)
		b.shot("phone" + strings.ReplaceAll(page, "/", "-"))
	}
	b.do("back", chromedp.Evaluate(`location.hash = "#/"`, nil))
	b.do("wide and light again", chromedp.EmulateViewport(1280, 900), emulation.SetEmulatedMedia())

	b.do("pause orders by keyboard", chromedp.Focus(`summary[aria-label="Actions for orders"]`), chromedp.KeyEvent(kb.Enter), chromedp.WaitVisible(".menu[open] button"),
		chromedp.KeyEvent(kb.Enter), chromedp.WaitVisible("#ask"))
	b.shot("ask")
	b.do("say yes", chromedp.KeyEvent(kb.Tab), chromedp.KeyEvent(kb.Enter))
	b.sees("orders are paused", `rows().orders.includes("paused")`)
	if r := d.Run("status", "orders"); !strings.Contains(r.Stdout, "paused") {
		t.Errorf("the daemon does not know:\n%s", r.Stdout)
	}
	d.Must("resume", "orders")
	b.sees("orders run again", `rows().orders.includes("3/3")`)

	b.do("look at one consumer", chromedp.Click(`a[href="#/c/orders"]`), chromedp.WaitVisible(".log"))
	b.sees("gates, slots and output", `text("main").includes("connection") && document.querySelectorAll(".slots tbody tr").length === 3 && text(".log").includes("handled order")`)
	b.sees("what is so now, in the graph", `text("figure:not([hidden]) small") === "just begun" || text("figure:not([hidden]) small").startsWith("highest 3,")`)
	b.sees("a graph", `document.querySelector("figure path.line").getAttribute("d").length > 3 || text("figure small") !== ""`)
	b.shot("consumer")
	b.do("restart with an extra one first", chromedp.Click(`//div[@class="acts"]/button[text()="Restart"]`, chromedp.BySearch), chromedp.WaitVisible("#ask-roll"),
		chromedp.SetValue("#ask-roll", "surge"))
	b.shot("restart")
	b.do("say yes", chromedp.Click("#ask-ok"))
	b.sees("all three are new, and no other is left", `(() => { const rows = [...document.querySelectorAll(".slots tbody tr")];
		return rows.length === 3 && rows.every((r) => r.textContent.includes("running") && r.children[6].textContent === "3"); })()`)

	d.KillEngine()
	b.sees("the output goes on", `text(".log").includes("handled order") && !text(".log").includes("—")`)
	b.sees("the page goes on after a crash of the engine", `document.querySelector("#link").textContent === "live"`)
	b.do("events", chromedp.Navigate("http://"+addr+"/#/events"))
	b.sees("transitions", `document.querySelectorAll(".events tbody tr").length > 3`)
	b.shot("events")
	b.job()
	b.do("sign out", chromedp.Click("header form button"), chromedp.WaitVisible("input[name=token]"))
	b.quiet()
}

// job goes from the list of jobs to the page of one: what it will do when clocks
// change, a run by hand, its result and its output.
func (b *browser) job() {
	b.t.Helper()
	b.do("jobs", chromedp.Click(`a[href="#/jobs"]`), chromedp.WaitVisible(`a[href="#/j/nightly"]`))
	b.sees("the list", `text("main").includes("30 2 * * *") && text("main").includes("never")`)
	b.do("one job", chromedp.Click(`a[href="#/j/nightly"]`), chromedp.WaitVisible(".pick select"))
	b.sees("the next ten fires", `section("Next fires").querySelectorAll("tbody tr").length === 10`)
	b.do("a day in spring", chromedp.Evaluate(`(() => { const [from, days] = [document.querySelector("input[type=date]"), document.querySelector(".pick select")];
		from.value = "2027-03-27"; days.value = "72h"; days.dispatchEvent(new Event("change")); return true; })()`, nil))
	b.sees("the fire that has no such moment", `section("Next fires").textContent.includes("Sun 2027-03-28 03:00:00 +02:00") && !section("Next fires").textContent.includes("28 02:30")`)
	b.do("run it", chromedp.Click(`.head .acts button`), chromedp.WaitVisible("#ask"), chromedp.Click("#ask-ok"))
	b.sees("the run's result and output", `section("Last fires").textContent.includes("clean") && section("Last fires").textContent.includes("by hand") && text(".log").includes("all is counted")`)
	b.sees("its gates", `section("Why it runs").textContent.includes("schedule")`)
	b.shot("job")
	b.do("the list", chromedp.Click(`a[href="#/jobs"]`), chromedp.WaitVisible(`a[href="#/j/nightly"]`))
	b.sees("how it ended", `text("main tbody").includes("clean")`)
	b.shot("jobs")
}

// TestPageShowsHosts looks at two hosts that share slots, pauses on both of them,
// and misses the one that dies.
func TestPageShowsHosts(t *testing.T) {
	addr, redis := freeAddress(t), servers.RedisServer(t)
	redis.Do(t, "FLUSHDB")
	t.Cleanup(func() { redis.Do(t, "FLUSHDB") })
	file := fmt.Sprintf(`connections:
  cache: {type: redis, url: "redis://%s/0"}
locks:
  fleet: {type: redis, connection: cache, ttl: 10s}
consumers:
  orders: {command: [sleep, "1000"], instances: 4, lock: fleet}
  alone: {command: [sleep, "1000"]}
`, redis.Addr)
	one := newDaemon(t, fmt.Sprintf("  http: {listen: %q, token_file: token}\n", addr)+file)
	other := newDaemon(t, file)
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		t.Fatal(err)
	}
	for d, host := range map[*daemon]string{one: "web1", other: "web2"} { // both are on this machine
		if err := os.MkdirAll(d.Path("state"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(d.Path("state/lease-owner"), fmt.Appendf(nil, "%s/%.8s/%s\n", host, boot, host), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(one.Path("token"), []byte(pageToken), 0o600); err != nil {
		t.Fatal(err)
	}
	one.Start()
	other.Start()
	b := browse(t)
	b.do("sign in", chromedp.Navigate("http://"+addr+"/"), chromedp.SendKeys("input[name=token]", pageToken+kb.Enter), chromedp.WaitVisible("#nav-hosts"), chromedp.Click("#nav-hosts"))
	b.sees("both hosts, with two slots each", `text("main").includes("web1 (this one)") && text("main").includes("web2") && text("main").includes("4 of 4 run on all hosts") &&
		[...document.querySelectorAll(".store section tbody tr")].every((r) => r.textContent.includes("2/2"))`)
	b.shot("hosts")
	b.do("on a phone", chromedp.EmulateViewport(390, 844, chromedp.EmulateScale(2)))
	b.sees("no sideways scrolling", `document.documentElement.scrollWidth <= 390 && document.querySelector("nav").scrollWidth <= document.querySelector("nav").clientWidth`)
	b.shot("phone-hosts")
	b.do("wide again", chromedp.EmulateViewport(1280, 900))
	b.do("pause everywhere", chromedp.Click(".store section .acts button"), chromedp.WaitVisible("#ask"), chromedp.Click("#ask-ok"))
	b.sees("no host runs any", `text("main").includes("0 of 0 run on all hosts")`)
	b.do("resume everywhere", chromedp.Click(".store section .acts button:nth-child(2)"), chromedp.WaitVisible("#ask"), chromedp.Click("#ask-ok"))
	b.sees("all run again", `text("main").includes("4 of 4 run on all hosts")`)
	other.StopAll()
	b.sees("the other was stopped", `text("main").includes("stopped") && text("main").includes("its daemon was stopped")`)
	b.shot("hosts-stopped")
	b.quiet()
}

// TestPageStaysSmooth opens the page of a consumer with a thousand slots.
func TestPageStaysSmooth(t *testing.T) {
	addr := freeAddress(t)
	d := newDaemon(t, fmt.Sprintf(`  http: {listen: "%s", token_file: token}
  start_rate: 0
consumers:
  many: {command: [sleep, "1000"], instances: 1000}
`, addr))
	if err := os.WriteFile(d.Path("token"), []byte(pageToken), 0o600); err != nil {
		t.Fatal(err)
	}
	d.Start()
	b := browse(t)
	b.do("sign in", chromedp.Navigate("http://"+addr+"/"), chromedp.SendKeys("input[name=token]", pageToken+kb.Enter), chromedp.WaitVisible(".fleet tbody tr"),
		chromedp.Navigate("http://"+addr+"/#/c/many"))
	b.sees("a thousand rows", `document.querySelectorAll(".slots tbody tr").length === 1000`)
	// An update changes texts; it neither makes rows anew nor moves them. This
	// counts what is changed, not time.
	b.do("watch", chromedp.Evaluate(`window.moved = 0; window.changed = 0; const rows = document.querySelector(".slots tbody");
		new MutationObserver((list) => { window.moved += list.length; }).observe(rows, {childList: true});
		new MutationObserver((list) => { window.changed += list.length; }).observe(rows, {characterData: true, childList: true, subtree: true}); true`, nil))
	b.sees("updates", `window.changed > 20`)
	b.sees("no row was made anew", `window.moved === 0`)
	// What is not in sight is left alone, and up to date when it comes into sight.
	b.sees("the last row waits", `document.querySelector(".slots tbody tr:last-child td.num").textContent === ""`)
	b.do("scroll", chromedp.Evaluate(`(() => { window.blank = 0; const box = document.querySelector(".scroll.tall"); 
		new MutationObserver((list) => { for (const m of list) if (m.target.closest?.("tr")?.querySelector(".badge").textContent === "") window.blank++; }).observe(box, {childList: true, subtree: true});
		box.scrollTop = box.scrollHeight; return true; })()`, nil))
	b.sees("the last row", `Number(document.querySelector(".slots tbody tr:last-child td.num").textContent) > 0`)
	b.sees("that none came into sight blank", `window.blank === 0`)
	b.shot("thousand")
}

// browser is a headless Chromium with one page, which ends with the test.
type browser struct {
	t   *testing.T
	ctx context.Context

	mu       sync.Mutex
	problems []string // what the page itself complained of: exceptions, refused resources
}

func browse(t *testing.T) *browser {
	t.Helper()
	profile, err := os.MkdirTemp("", "qsuper-browser-")
	if err != nil {
		t.Fatal(err)
	}
	// Some of its processes write there for a moment after its end.
	t.Cleanup(func() {
		eventually(t, patience, "the browser's profile is gone", func() bool { return os.RemoveAll(profile) == nil })
	})
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath("/usr/bin/chromium"), chromedp.NoSandbox, chromedp.UserDataDir(profile), chromedp.WindowSize(1280, 900),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("lang", "en-GB"))
	alloc, end := chromedp.NewExecAllocator(context.Background(), opts...)
	t.Cleanup(end)
	ctx, quit := chromedp.NewContext(alloc)
	t.Cleanup(func() {
		_ = chromedp.Cancel(ctx) // closes it and waits
		quit()
	})
	b := &browser{t: t, ctx: ctx}
	if err := chromedp.Run(ctx); err != nil { // starts the browser, which lives as long as this context
		t.Fatalf("start Chromium: %v; install it with test/install-packages", err)
	}
	chromedp.ListenTarget(ctx, func(ev any) {
		switch ev := ev.(type) {
		case *runtime.EventExceptionThrown:
			b.note("exception: " + ev.ExceptionDetails.Error())
		case *page.EventJavascriptDialogOpening:
			b.note("dialog: " + ev.Message)
		case *network.EventLoadingFailed:
			if ev.BlockedReason != "" {
				b.note("blocked: " + string(ev.BlockedReason))
			}
		}
	})
	return b
}

func (b *browser) note(what string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.problems = append(b.problems, what)
}

// do carries out steps within a minute.
func (b *browser) do(what string, steps ...chromedp.Action) {
	b.t.Helper()
	if err := b.run(time.Minute, steps...); err != nil {
		b.shot("failed")
		b.t.Fatalf("%s: %v; %v", what, err, b.problems)
	}
}

func (b *browser) run(limit time.Duration, steps ...chromedp.Action) error {
	ctx, cancel := context.WithTimeout(b.ctx, limit)
	defer cancel()
	return chromedp.Run(ctx, steps...)
}

// helpers are there for the conditions that tests wait for.
const helpers = `const rows = () => Object.fromEntries([...document.querySelectorAll(".fleet tbody tr")].map((r) => [r.querySelector("a").textContent, r.textContent]));
const section = (begin) => [...document.querySelectorAll("section")].find((s) => s.querySelector("h2").textContent.startsWith(begin));
const text = (s) => document.querySelector(s)?.textContent ?? "";`

// sees waits until a condition on the page is true.
func (b *browser) sees(what, condition string) {
	b.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		var ok bool
		err := b.run(10*time.Second, chromedp.Evaluate("(() => { "+helpers+" try { return Boolean("+condition+"); } catch (e) { return false; } })()", &ok))
		if err == nil && ok {
			return
		}
		if time.Now().After(deadline) {
			b.shot("failed")
			var text string
			_ = b.run(10*time.Second, chromedp.Evaluate("document.body.innerText", &text))
			b.t.Fatalf("never seen: %s (%v); %v; the page:\n%s", what, err, b.problems, text)
		}
		select {
		case <-b.ctx.Done():
			b.t.Fatal(b.ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// shot takes a picture when somebody wants to look.
func (b *browser) shot(name string) {
	dir := os.Getenv("QSUPER_SHOTS")
	if dir == "" {
		return
	}
	var png []byte
	if err := b.run(30*time.Second, chromedp.FullScreenshot(&png, 100)); err != nil {
		b.t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), png, 0o600); err != nil {
		b.t.Error(err)
	}
}

// quiet fails when the page complained of something.
func (b *browser) quiet() {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.problems) > 0 {
		b.t.Errorf("the page complained: %v", b.problems)
	}
}
