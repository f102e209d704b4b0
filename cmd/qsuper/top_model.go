package main

import (
	"context"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"qsuper/control"
)

// topEvery is how often the daemon is asked. One that needs long for its answer is
// asked less often, so that looking costs it no more than a twentieth of its time.
const (
	topEvery = time.Second
	topShare = 20
)

// noticeFor is how long the outcome of a command is shown.
const noticeFor = 30 * time.Second

// tab is a page about one consumer; tabFleet is the table of all of them.
type tab int

const (
	tabFleet tab = iota
	tabWhy
	tabSlots
	tabLogs
	tabEvents
)

// top is the live view. Only bubbletea's loop touches it; what it asks of the
// daemon runs in commands, whose answers come back as messages.
type top struct {
	ctx    context.Context
	client *control.Client
	out    *screen
	now    clockFunc

	st     control.Status
	seen   time.Time // when st was true
	lost   error     // why there is nothing newer; nil: there is
	past   usageBefore
	depths map[string][]int64 // of each queue, oldest first

	tab     tab
	subject string // consumer or instance that the page is about
	fleet   *grid[topRow]
	slots   *grid[topSlot]
	ex      *control.Explain
	exErr   error
	text    scroll // of the pages that are text
	feed    *feed
	news    *feed  // events of the whole fleet, where there is room below the table
	latest  scroll // what it has told

	prompt   *prompt // nil: keys are commands
	help     bool
	notice   string
	tone     style
	noticeAt time.Time
	doing    int // commands that have not been answered
}

func newTop(ctx context.Context, c *control.Client, out *screen, now clockFunc, first control.Status) *top {
	t := &top{ctx: ctx, client: c, out: out, now: now, fleet: newFleetGrid(), slots: newSlotGrid(), past: usageBefore{}, depths: map[string][]int64{}}
	t.take(looked{st: first})
	return t
}

// looked is what the daemon says now.
type looked struct {
	st    control.Status
	err   error
	about string // the subject of ex
	ex    control.Explain
	exErr error
	took  time.Duration
}

// look asks the daemon after a pause.
func (t *top) look(pause time.Duration) tea.Cmd {
	about := ""
	if t.tab == tabWhy {
		about = t.subject
	}
	return func() tea.Msg {
		select {
		case <-time.After(pause):
		case <-t.ctx.Done():
			return nil
		}
		began := time.Now()
		m := looked{about: about}
		m.st, m.err = t.client.Status(t.ctx, control.StatusQuery{Slots: true, Usage: true})
		if m.err == nil && about != "" {
			m.ex, m.exErr = t.client.Explain(t.ctx, about)
		}
		m.took = time.Since(began)
		return m
	}
}

// explanation answers a question that was asked out of turn.
type explanation struct {
	about string
	ex    control.Explain
	err   error
}

// Init is bubbletea's.
func (t *top) Init() tea.Cmd { return tea.Batch(t.look(topEvery), t.refeed()) }

// Update is bubbletea's: the only place where anything changes.
func (t *top) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch m := msg.(type) {
	case tea.WindowSizeMsg:
		t.out.width, t.out.height = m.Width, m.Height
		clear(t.fleet.least)
		clear(t.slots.least)
		t.showWhy()
	case looked:
		t.take(m)
		return t, tea.Batch(t.look(max(topEvery, topShare*m.took)), t.refeed())
	case explanation:
		if t.tab == tabWhy && m.about == t.subject {
			t.ex, t.exErr = &m.ex, m.err
			t.showWhy()
		}
	case fed:
		return t, t.read(m)
	case acted:
		t.doing--
		t.say(m.tone, m.text)
	case tea.PasteMsg:
		if t.prompt != nil {
			t.prompt.insert(m.Content)
			t.filter(t.prompt)
		}
	case tea.KeyPressMsg:
		return t, t.key(m)
	}
	return t, nil
}

// take puts an answer of the daemon in place, or says since when there is none.
func (t *top) take(m looked) {
	if m.err != nil {
		t.lost = m.err
		return
	}
	if t.lost != nil {
		t.say(green, "the daemon answers again")
	}
	t.st, t.seen, t.lost = m.st, t.now(), nil
	share := t.past.shares(m.st, t.now())
	t.remember(m.st)
	t.fleet.set(t.rows(share))
	t.slots.set(t.instances(share))
	if t.tab == tabWhy && m.about == t.subject {
		t.ex, t.exErr = &m.ex, m.exErr
		t.showWhy()
	}
}

// open shows a page about a consumer or an instance.
func (t *top) open(to tab, subject string) tea.Cmd {
	if t.feed != nil {
		t.feed.stop()
		t.feed = nil
	}
	if former := t.consumer(); subject != t.subject {
		t.ex, t.exErr = nil, nil
		if t.subject = subject; t.consumer() != former {
			t.slots = newSlotGrid()
		}
	}
	t.tab, t.text = to, scroll{live: to == tabLogs || to == tabEvents}
	t.slots.set(t.instances(nil))
	switch to {
	case tabWhy:
		t.showWhy()
		return func() tea.Msg {
			ex, err := t.client.Explain(t.ctx, subject)
			return explanation{subject, ex, err}
		}
	case tabLogs, tabEvents:
		t.feed = newFeed(t.ctx, t.client, t.out, subject, to == tabEvents)
		return t.feed.next(t.ctx)
	}
	return nil
}

// read takes what a feed has had, and waits for more.
func (t *top) read(m fed) tea.Cmd {
	to, mine := &t.text, &t.feed
	if m.from == t.news {
		to, mine = &t.latest, &t.news
	}
	if m.from != *mine {
		return nil // its page has been left
	}
	to.add(m.lines)
	if !m.over {
		return m.from.next(t.ctx)
	}
	if m.err != nil && to == &t.text {
		to.add([]string{t.out.paint(dim, oneLine(m.err.Error()))})
	}
	m.from.stop()
	*mine = nil
	return nil
}

// refeed begins to follow, and begins anew what ended with the daemon when that is
// there again.
func (t *top) refeed() tea.Cmd {
	if t.lost != nil {
		return nil
	}
	var cmds []tea.Cmd
	if t.news == nil {
		t.latest = scroll{live: true}
		t.news = newFeed(t.ctx, t.client, t.out, "", true)
		cmds = append(cmds, t.news.next(t.ctx))
	}
	if t.feed == nil && (t.tab == tabLogs || t.tab == tabEvents) {
		cmds = append(cmds, t.open(t.tab, t.subject))
	}
	return tea.Batch(cmds...)
}

func (t *top) say(tone style, text string) { t.notice, t.tone, t.noticeAt = text, tone, t.now() }

// consumer is the subject without its slot.
func (t *top) consumer() string { return consumerOf(t.subject) }

func consumerOf(subject string) string {
	name, _, _ := strings.Cut(subject, "/")
	return name
}

// View is bubbletea's.
func (t *top) View() tea.View {
	v := tea.NewView(strings.Join(t.lines(), "\n"))
	v.AltScreen = true
	v.WindowTitle = "qsuper top " + oneLine(t.st.Daemon.Name)
	return v
}
