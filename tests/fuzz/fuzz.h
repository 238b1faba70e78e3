/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A fuzz target is one function over bytes that must neither crash, leak nor take long, whatever the bytes
 * are. fuzz-NAME.c has it. Linked with libFuzzer it is a fuzzer; linked with regression.c it is a test over
 * its corpus. */

#include <stddef.h>
#include <stdint.h>

/* The only name that libFuzzer knows. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Inputs above this are not tried: what they would show, a smaller one shows sooner. */
#define FUZZ_SIZE_MAX (256U * 1024U)
