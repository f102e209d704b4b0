//go:build !novfork

#include "textflag.h"
#include "go_asm.h"

#define SYS_exit_group	231
#define SYS_clone3	435

// func clone(p *Program, first *Step) (r uintptr)
//
// The child has the memory and the stack of its parent, which waits for it. It
// writes to neither: all that it needs is in registers that a system call keeps.
TEXT ·clone(SB),NOSPLIT,$0-24
	MOVQ	p+0(FP), R12
	MOVQ	first+8(FP), BX
	LEAQ	Program_Args(R12), DI
	MOVQ	$Args__size, SI
	MOVQ	$SYS_clone3, AX
	SYSCALL
	TESTQ	AX, AX
	JZ	next
	MOVQ	AX, r+16(FP)
	RET

next:
	MOVQ	Step_Trap(BX), AX
	MOVQ	(Step_Args+0)(BX), DI
	MOVQ	(Step_Args+8)(BX), SI
	MOVQ	(Step_Args+16)(BX), DX
	MOVQ	(Step_Args+24)(BX), R10
	MOVQ	(Step_Args+32)(BX), R8
	MOVQ	(Step_Args+40)(BX), R9
	SYSCALL
	MOVQ	AX, R13
	SUBQ	Step_Least(BX), AX
	CMPQ	AX, Step_Span(BX)
	JHI	failed
	ADDQ	$Step__size, BX
	JMP	next

failed:
	MOVQ	BX, Program_failed(R12)
	MOVQ	R13, Program_result(R12)

leave:
	MOVQ	$127, DI
	MOVQ	$SYS_exit_group, AX
	SYSCALL
	JMP	leave

// func call(trap, a1, a2, a3, a4 uintptr) (r uintptr)
TEXT ·call(SB),NOSPLIT,$0-48
	MOVQ	trap+0(FP), AX
	MOVQ	a1+8(FP), DI
	MOVQ	a2+16(FP), SI
	MOVQ	a3+24(FP), DX
	MOVQ	a4+32(FP), R10
	SYSCALL
	MOVQ	AX, r+40(FP)
	RET
