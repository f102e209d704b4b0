package runner

import "sync"

// mailbox is an unbounded queue with one reader: whoever reports something to
// a consumer never waits for it.
type mailbox struct {
	mu   sync.Mutex
	list []any
	wake chan struct{} // holds one token while list is not empty; several mailboxes of one reader may share it
}

func newMailbox() *mailbox { return &mailbox{wake: make(chan struct{}, 1)} }

func (m *mailbox) put(v any) {
	m.mu.Lock()
	m.list = append(m.list, v)
	m.mu.Unlock()
	m.nudge()
}

// nudge wakes the reader.
func (m *mailbox) nudge() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// pending says whether something waits to be read.
func (m *mailbox) pending() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.list) > 0
}

// take empties the mailbox; used becomes its next buffer.
func (m *mailbox) take(used []any) []any {
	clear(used)
	m.mu.Lock()
	defer m.mu.Unlock()
	list := m.list
	m.list = used[:0]
	return list
}
