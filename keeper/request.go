package keeper

import (
	"fmt"
	"os"

	"qsuper/pidfile"
	"qsuper/proc"
)

// request carries out one frame of the engine. An error is one that a sane
// engine would not cause, and ends it.
func (k *keeper) request(t frameType, body []byte) error {
	if t != frameHello && !k.engine.greeted || t == frameHello && k.engine.greeted {
		return fmt.Errorf("%w: type %d is not what comes first", errFrame, t)
	}
	if t != frameHello && t != frameList && t != frameNotify && t != frameTerminating && t != frameQuit && !k.engine.listed {
		return fmt.Errorf("%w: type %d before the slots were listed", errFrame, t)
	}
	switch t {
	case frameHello:
		return with(body, k.hello)
	case frameStart:
		return with(body, k.start)
	case frameStop:
		return with(body, k.stop)
	case frameAck:
		return with(body, k.ack)
	case frameAgain:
		return with(body, k.again)
	case frameAdopt:
		return with(body, k.adopted)
	case frameExtend:
		return with(body, k.extend)
	case frameFreeze:
		return with(body, k.freeze)
	case frameDrop:
		return with(body, k.drop)
	case frameLog:
		return with(body, k.setLog)
	case frameQuit:
		return with(body, k.quitAfter)
	case frameUpgrade:
		return with(body, k.tryUpgrade)
	case frameList:
		k.list()
		return nil
	case framePong:
		k.engine.lives()
		return nil
	case frameNotify:
		return with(body, k.notify)
	case frameOutputs:
		k.engine.send(frameTaken, k.outputs())
		return nil
	case frameTerminating:
		k.answerBy = never
		k.expectQuit()
		return nil
	}
	return fmt.Errorf("%w: type %d", errFrame, t)
}

func with[T any](body []byte, f func(T) error) error {
	v, err := decode[T](body)
	if err != nil {
		return err
	}
	return f(v)
}

func (k *keeper) hello(h Hello) error {
	k.engine.greeted = true
	_ = pidfile.ForgetCrashes(k.opt.StateDir) // it is told to people only
	k.engine.send(frameHello, Hello{
		Version: Version, PID: os.Getpid(), StartedAt: k.since, Engines: k.engine.count, Terminating: k.terminating,
		Contained: k.contained,
	})
	if h.Version != Version {
		return fmt.Errorf("the engine speaks version %d, this keeper %d: restart qsuper", h.Version, Version)
	}
	if k.engine.reload {
		k.engine.send(frameReload, Reload{})
	}
	return nil
}

// start answers with Started or StartFailed. The specification is kept whatever
// the answer, as the engine will refer to it.
func (k *keeper) start(f start) error {
	s := k.slotOf(f.Slot)
	switch {
	case f.Own != nil && k.last == nil:
		return fmt.Errorf("%w: %s refers to a specification before it, and there was none", errFrame, f.Slot)
	case f.Own != nil:
		s.spec, s.specID = f.Own.spec(k.last), f.SpecID
		k.last = s.spec
	case f.Spec != nil:
		f.Spec.share(k.last)
		s.spec, s.specID, k.last = f.Spec, f.SpecID, f.Spec
	case s.specID == 0 || s.specID != f.SpecID:
		return fmt.Errorf("%w: %s refers to specification %d, which was never sent", errFrame, f.Slot, f.SpecID)
	}
	if err := s.remember(f.Memo); err != nil {
		return err
	}
	if s.run != nil && s.run.id == f.Run || s.exit != nil && s.exit.Run == f.Run {
		return fmt.Errorf("%w: run %d of %s is started twice", errFrame, f.Run, f.Slot)
	}
	failed := StartFailed{Slot: f.Slot, Run: f.Run}
	switch {
	case s.run != nil:
		failed.Kind, failed.Err = KindBusy, fmt.Sprintf("run %d has the slot", s.run.id)
	case k.terminating || k.quit:
		failed.Kind, failed.Err = KindTerminating, "everything is being stopped"
	default:
		s.exit, s.again, s.lease = nil, f.Again, f.Lease
		if err := s.start(f.Run); err != nil {
			s.startFailed(f.Run, err)
		}
		return nil
	}
	k.engine.tell(frameStartFailed, failed)
	return nil
}

// current is the run that a request means; nil when it has ended already.
func (k *keeper) current(slot string, id uint64) *run {
	if s := k.slots[slot]; s != nil && s.run != nil && s.run.id == id {
		return s.run
	}
	return nil
}

func (k *keeper) stop(r stops) error {
	return r.each(func(slot string, id uint64) {
		run := k.current(slot, id)
		if run == nil {
			return
		}
		run.slot.again = nil
		run.asked = run.asked || run.exit == nil // what has ended already ended by itself
		switch {
		case r.Idle:
			run.endIdle()
		case r.Now:
			run.kill()
		default:
			run.begin(r.Stop)
		}
		if r.Stop.Why != "" {
			run.stopping.Why = r.Stop.Why
		}
	})
}

func (k *keeper) ack(r AckRequest) error {
	s := k.slots[r.Slot]
	if s == nil && r.Memo == nil {
		return nil
	}
	s = k.slotOf(r.Slot) // there is something to remember though nothing has run
	if s.exit != nil && s.exit.Run == r.Run {
		s.exit = nil
	}
	return s.remember(r.Memo)
}

func (k *keeper) again(r AgainRequest) error {
	if run := k.current(r.Slot, r.Run); run != nil {
		run.slot.again = r.Again
	}
	return nil
}

func (k *keeper) drop(r DropRequest) error {
	if s := k.slots[r.Slot]; s != nil && s.run == nil {
		s.drop()
		delete(k.slots, r.Slot)
	}
	return nil
}

func (k *keeper) setLog(r LogRequest) error {
	if s := k.slots[r.Slot]; s != nil {
		if err := s.setLog(r.Log); err != nil {
			k.log.Error("log of slot not changed", "slot", r.Slot, "error", err)
		}
	}
	return nil
}

func (k *keeper) quitAfter(r QuitRequest) error {
	k.quit, k.code = true, max(k.code, r.Code)
	k.stopAll()
	return nil
}

// list waits until no process is just being started, so that each slot is either
// taken or free.
func (k *keeper) list() {
	if k.starting > 0 {
		k.engine.lists++
		return
	}
	now := proc.Boottime()
	for _, s := range k.slots {
		k.engine.send(frameSlot, s.info(now))
	}
	k.engine.send(frameListEnd, ListEnd{})
	k.engine.listed = true
	k.engine.lives()
}
