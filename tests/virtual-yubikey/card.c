/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* See card.h. */

#include "tests/virtual-yubikey/card.h"
#include "tests/virtual-yubikey/applications.h"
#include <unistd.h>

#define LONGEST_COMMAND 3072
#define SHORT_ANSWER 256

enum {
    INSTRUCTION_SELECT = 0xa4,
    INSTRUCTION_GET_RESPONSE = 0xc0,
};

/* A YubiKey 5 at a USB port. */
static const guint8 atr[] = {0x3b, 0xfd, 0x13, 0x00, 0x00, 0x81, 0x31, 0xfe, 0x15, 0x80, 0x73, 0xc0,
                             0x21, 0xc0, 0x57, 0x59, 0x75, 0x62, 0x69, 0x4b, 0x65, 0x79, 0x40};

const guint8 *card_atr(gsize *ret_length)
{
    *ret_length = sizeof atr;
    return atr;
}

void card_init(Card *card, Hand *hand, Faults *faults, Memory *memory)
{
    *card = (Card){
        .hand = hand,
        .faults = faults,
        .piv = {.memory = memory, .hand = hand},
        .chained = g_byte_array_new(),
        .pending = g_byte_array_new(),
    };
}

void card_clear(Card *card)
{
    g_byte_array_unref(card->chained);
    g_byte_array_unref(card->pending);
}

void card_reset(Card *card)
{
    piv_forget(&card->piv);
    card->selected = APPLICATION_NONE;
    g_byte_array_set_size(card->chained, 0);
    g_byte_array_set_size(card->pending, 0);
}

static guint16 select_application(Card *card, const Command *command, GByteArray *answer)
{
    if (command->p1 != 0x04)
        return SW_WRONG_P1P2;
    Application application = application_find(command->data, command->length);
    if (application == APPLICATION_NONE)
        return SW_NOT_FOUND;
    if (application != APPLICATION_PIV || card->selected != APPLICATION_PIV)
        piv_forget(&card->piv);
    card->piv.pin_fresh = false;
    card->selected = application;
    application_append_select(application, card->piv.memory, answer);
    return SW_SUCCESS;
}

/* A whole command. */
static guint16 operate(Card *card, const Command *command, GByteArray *answer)
{
    hand_pause(card->hand, faults_delay(card->faults, command->ins));
    guint16 failure = faults_failure(card->faults, command->ins);
    if (failure)
        return failure;
    if (command->ins == INSTRUCTION_SELECT)
        return select_application(card, command, answer);
    if (card->selected == APPLICATION_PIV)
        return piv_command(&card->piv, command, answer);
    return application_command(card->selected, card->piv.memory, command, answer);
}

static bool continues(const Command *one, const Command *other)
{
    return one->ins == other->ins && one->p1 == other->p1 && one->p2 == other->p2;
}

/* Keeps a block and is done, or completes |command| with the blocks before it. */
static guint16 collect(Card *card, Command *command, bool *ret_complete)
{
    bool more = (command->cla & CLA_CHAINED) != 0;
    *ret_complete = false;
    if (card->chained->len > 0 && !continues(&card->chain, command))
        g_byte_array_set_size(card->chained, 0);
    if (card->chained->len + command->length > LONGEST_COMMAND) {
        g_byte_array_set_size(card->chained, 0);
        return SW_WRONG_LENGTH;
    }
    if (more || card->chained->len > 0) {
        if (command->length > 0)
            g_byte_array_append(card->chained, command->data, (guint)command->length);
        command->data = card->chained->data;
        command->length = card->chained->len;
    }
    card->chain = *command;
    *ret_complete = !more;
    return SW_SUCCESS;
}

/* As much of |pending| as fits, and the status word: |status|, or that there is more. */
static void hand_out(Card *card, gsize most, guint16 status, GByteArray *answer)
{
    guint length = (guint)MIN(most, card->pending->len);
    g_byte_array_append(answer, card->pending->data, length);
    g_byte_array_remove_range(card->pending, 0, length);
    guint left = card->pending->len;
    if (left > 0)
        status = (guint16)(SW_MORE_DATA | (left < 0x100 ? left : 0));
    guint8 trailer[] = {(guint8)(status >> 8), (guint8)status};
    g_byte_array_append(answer, trailer, sizeof trailer);
}

static guint16 execute(Card *card, Command *command)
{
    bool complete = false;
    g_byte_array_set_size(card->pending, 0);
    if (command->cla & ~CLA_CHAINED)
        return SW_WRONG_CLASS;
    guint16 status = collect(card, command, &complete);
    if (complete) {
        status = operate(card, command, card->pending);
        g_byte_array_set_size(card->chained, 0);
    }
    return status;
}

bool card_exchange(Card *card, const guint8 *bytes, gsize length, GByteArray *answer)
{
    Command command = {0};
    guint16 status = SW_WRONG_LENGTH;
    bool parsed = command_parse(bytes, length, &command);
    bool cut = faults_see(card->faults, length > 1 ? bytes[1] : 0);
    g_byte_array_set_size(answer, 0);
    if (faults_reset(card->faults))
        card_reset(card);
    if (cut && !card->faults->cut_after) {
        hand_pull(card->hand);
        return false;
    }
    if (parsed && command.ins == INSTRUCTION_GET_RESPONSE && card->pending->len > 0)
        status = SW_SUCCESS;
    else if (parsed)
        status = execute(card, &command);
    if (cut)
        hand_pull(card->hand);
    hand_out(card, command.extended ? G_MAXUINT16 : SHORT_ANSWER, status, answer);
    return card->hand->plugged;
}

void card_serve(Card *card, int connection, void (*serve)(Card *card, int connection))
{
    Hand *hand = card->hand;
    hand->connection = connection;
    g_mutex_unlock(&hand->lock);
    serve(card, connection);
    g_mutex_lock(&hand->lock);
    hand->connection = -1;
    hand->powered = false;
    card_reset(card);
    close(connection);
    hand_changed(hand);
}
