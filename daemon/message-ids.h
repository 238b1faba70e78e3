/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The MESSAGE_ID of every event that an administrator may want to look up. data/iothsm.catalog has a text for
 * each of them, and a test holds the two lists together. */

#define MESSAGE_STARTED "dc13a47703ed42dc82b28925d3972fb9"
#define MESSAGE_STOPPED "a84124335edd4cfebe4ffff6840aa5fb"
#define MESSAGE_STATE_SET_ASIDE "4cb1fbc0dacb49c280651d8a91421b41"
#define MESSAGE_TOKEN_APPEARED "e96bebfa5e3e4c7985fa24d1b3253d31"
#define MESSAGE_TOKEN_GONE "b71baf390de34b2dab87dba76829b357"
#define MESSAGE_TOKEN_FAILED "f5cc5bb1fe2547e287f80cbf98db4c12"
#define MESSAGE_PIN_WRONG "f65a83f72c5243b8b9d49d4ac3ac2b92"
#define MESSAGE_PINS_NOT_SEALED "b0afb2f3ff3543e4afddcaaf4b8e8514"
#define MESSAGE_UNCONFIGURED "aa997c78aa0a4a6b85663ec7a7b709f0"
#define MESSAGE_LINK_CONNECTED "2d654634581a431884c30ca26087a3a3"
#define MESSAGE_LINK_LOST "a4fc2183a1f5439cb80fbb0b18611039"
#define MESSAGE_AUTHORITY_REFUSED "3d750686b65849f0b844072d351af6e8"
#define MESSAGE_SIGNED "5ff37c7b692b4befa2fabfbfd65b71a2"
#define MESSAGE_DENIED "0da35c3042b54c25935532f3161ffb8b"
#define MESSAGE_REPLAYED "aa78233f849b4057a46514a9bedf6caa"
#define MESSAGE_REQUEST_DROPPED "ca5c99a77e4e422a846f33a21ab48e44"
#define MESSAGE_FOREIGN_MESSAGE "66ef49edd6ad4b28b8f086467f4c030a"
#define MESSAGE_PROVISIONED "a4efbf048f44403e927697490a449473"
