package keeper

// corkSize is a few dozen requests: the keeper should begin with the first while
// the last of a thousand are still being made.
const corkSize = 8 << 10

// maxRuns bounds the stops that are kept back, in bytes: some thousands of them.
// The keeper should have all before the first process is signalled, as those that
// are about to exit take the processor from whoever still makes requests.
const maxRuns = 64 << 10

// Cork keeps requests back until Uncork is called as often, or corkSize bytes of
// them have come together: each write wakes the keeper.
func (c *Client) Cork() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.corks++
}

// Uncork undoes one Cork.
func (c *Client) Uncork() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.corks--; c.corks == 0 && c.broken == nil && c.gather() == nil {
		c.out()
	}
}

// out sends what is pending, or has it sent. It is called with mu held.
func (c *Client) out() {
	if !c.writing && len(c.pending) > 0 {
		c.push()
	}
	if len(c.pending) > 0 {
		select {
		case c.more <- struct{}{}:
		default:
		}
	}
}

// gather puts the stops that were kept back among what is pending. It is called
// with mu held.
func (c *Client) gather() error {
	if len(c.runs) == 0 {
		return nil
	}
	err := c.add(frameStop, &stops{c.stop.Stop, c.stop.Now, c.stop.Idle, string(c.runs)})
	c.runs = c.runs[:0]
	return err
}
