/* Notifications (RFC 7641). The handler is asked anew for each: nothing is kept but the request. A
 * confirmable notification that is not acknowledged in time goes out again as a new message with the state of
 * that moment and the timer going on (4.5.2), so it needs no buffer, and the client never waits for an
 * outdated state. */
#include "coap/internal.h"

#define CONFIRM_EVERY 8
#define CONFIRM_MS    (24u * 3600u * 1000u) /* RFC 7641, 4.5: at least once a day */
#define SEQUENCE_MASK 0xffffffu

static uint32_t next_sequence(struct wm_coap_endpoint *ep)
{
    ep->observe_seq = (ep->observe_seq + 1) & SEQUENCE_MASK;
    return ep->observe_seq;
}

static struct wm_coap_observer *observer_of(struct wm_coap_endpoint *ep, const struct wm_coap_request *req)
{
    for (size_t i = 0; i < ep->observers_top; i++) {
        struct wm_coap_observer *ob = &ep->observers[i];
        if (ob->used && ob->request.token_len == req->msg.token_len &&
            memcmp(ob->request.token, req->msg.token, req->msg.token_len) == 0 &&
            wm_coap_same_peer(&ob->request.peer, req->peer)) {
            return ob;
        }
    }
    return NULL;
}

void wm_coap_observe_before(struct wm_coap_endpoint *ep, const struct wm_coap_request *req)
{
    /* Later blocks of a notification are fetched without Observe (RFC 7959, 3.4), by some with the same
     * token. */
    if (req->observe == 0 || (req->block2.present && req->block2.num > 0)) {
        return;
    }
    struct wm_coap_observer *ob = observer_of(ep, req);
    if (ob != NULL) {
        ob->used = false;
    }
}

static void note_mid(struct wm_coap_observer *ob, uint16_t mid)
{
    memmove(ob->mids + 1, ob->mids, sizeof ob->mids - sizeof ob->mids[0]);
    ob->mids[0] = mid;
    if (ob->mid_count < WM_COAP_OBSERVER_MIDS) {
        ob->mid_count++;
    }
}

int32_t wm_coap_observe_after(struct wm_coap_endpoint *ep, const struct wm_coap_request *req,
                              const struct wm_coap_reply *rep, int32_t mid)
{
    if (req->observe != 0 || (req->block2.present && req->block2.num > 0)) {
        return -1;
    }
    struct wm_coap_observer *ob = observer_of(ep, req);
    if (rep->observe_key == 0 || rep->code >= WM_COAP_BAD_REQUEST) {
        if (ob != NULL) {
            ob->used = false;
        }
        return -1;
    }
    for (uint16_t i = 0; ob == NULL && i < WM_COAP_OBSERVERS; i++) {
        if (!ep->observers[i].used) {
            ob = &ep->observers[i];
            if (i >= ep->observers_top) {
                ep->observers_top = (uint16_t)(i + 1);
            }
        }
    }
    if (ob == NULL) {
        return -1;
    }
    ob->used = wm_coap_stored_keep(&ob->request, req->peer, &req->msg);
    if (!ob->used) {
        return -1;
    }
    ob->changed = ob->waiting = false;
    ob->since_con = ob->mid_count = 0;
    ob->key = rep->observe_key;
    ob->next_ms = ep->now_ms + WM_OBSERVE_MIN_MS;
    ob->con_ms = ep->now_ms;
    if (mid >= 0) {
        note_mid(ob, (uint16_t)mid);
    }
    return (int32_t)next_sequence(ep);
}

void wm_coap_notify(struct wm_coap_endpoint *ep, uint32_t key)
{
    for (size_t i = 0; i < ep->observers_top; i++) {
        struct wm_coap_observer *ob = &ep->observers[i];
        if (ob->used && ob->key == key && !ob->changed) {
            ob->changed = true;
            ep->wake_now = true;
        }
    }
}

/* Index in ob->mids of the notification that was sent with this message ID; -1: none. */
static int sent_as(const struct wm_coap_observer *ob, const struct wm_peer *peer, uint16_t mid)
{
    if (ob->used && wm_coap_same_peer(&ob->request.peer, peer)) {
        for (int i = 0; i < ob->mid_count; i++) {
            if (ob->mids[i] == mid) {
                return i;
            }
        }
    }
    return -1;
}

bool wm_coap_observe_acked(struct wm_coap_endpoint *ep, const struct wm_peer *peer, uint16_t mid)
{
    for (size_t i = 0; i < ep->observers_top; i++) {
        struct wm_coap_observer *ob = &ep->observers[i];
        const int                at = sent_as(ob, peer, mid);
        if (at < 0) {
            continue;
        }
        if (ob->waiting) {
            ob->waiting = false;
            ob->con_ms = ep->now_ms;
            ob->changed = ob->changed || at > 0; /* it has an earlier try, the latest may be lost */
            ep->wake_now = true;
        }
        return true;
    }
    return false;
}

void wm_coap_observe_reset(struct wm_coap_endpoint *ep, const struct wm_peer *peer, uint16_t mid)
{
    for (size_t i = 0; i < ep->observers_top; i++) {
        if (sent_as(&ep->observers[i], peer, mid) >= 0) {
            ep->observers[i].used = false;
        }
    }
}

static void send_notification(struct wm_coap_endpoint *ep, struct wm_coap_observer *ob, uint8_t type)
{
    struct wm_coap_request req;
    struct wm_coap_reply   rep;
    ob->changed = false;
    ob->next_ms = ep->now_ms + WM_OBSERVE_MIN_MS;
    wm_coap_stored_ask(ep, &ob->request, &req, &rep);
    if (!ob->used) {
        return; /* the handler's doing */
    }
    /* An error ends the observation, and so does a representation that can no longer be observed (RFC
     * 7641, 4.2). */
    const bool                    ends = rep.code >= WM_COAP_BAD_REQUEST || rep.observe_key != ob->key;
    const struct wm_coap_reply_to to = {
        .peer = &ob->request.peer,
        .type = ends ? WM_COAP_NON : type,
        .mid = ep->next_mid++,
        .token = wm_span(ob->request.token, ob->request.token_len),
        .block2 = &req.block2,
        .observe = ends ? -1 : (int32_t)next_sequence(ep),
    };
    wm_coap_send(ep, to.peer, wm_coap_reply_close(ep, &rep, &to));
    note_mid(ob, to.mid);
    ob->used = !ends;
}

static void confirm(struct wm_coap_endpoint *ep, struct wm_coap_observer *ob, uint32_t timeout_ms)
{
    ob->waiting = true;
    ob->timeout_ms = timeout_ms;
    ob->deadline_ms = ep->now_ms + timeout_ms;
    send_notification(ep, ob, WM_COAP_CON);
}

static void on_timeout(struct wm_coap_endpoint *ep, struct wm_coap_observer *ob)
{
    if (ob->tries == ep->config.max_retransmit) {
        ep->stats.unanswered++;
        ob->used = false;
        return;
    }
    ob->tries++;
    ep->stats.retransmits++;
    confirm(ep, ob, wm_coap_next_timeout(ob->timeout_ms));
}

static void on_change(struct wm_coap_endpoint *ep, struct wm_coap_observer *ob)
{
    ob->since_con++;
    if (ob->since_con < CONFIRM_EVERY && ep->now_ms - ob->con_ms < CONFIRM_MS) {
        send_notification(ep, ob, WM_COAP_NON);
        return;
    }
    ob->since_con = 0;
    ob->tries = 0;
    confirm(ep, ob, wm_coap_first_timeout(ep));
}

void wm_coap_observe_poll(struct wm_coap_endpoint *ep)
{
    for (size_t i = 0; i < ep->observers_top; i++) {
        struct wm_coap_observer *ob = &ep->observers[i];
        if (!ob->used) {
            continue;
        }
        /* Once a day also where nothing changes: who has left is noticed, and no time here grows too old to compare. */
        const bool silent = ep->now_ms - ob->con_ms >= CONFIRM_MS;
        if (ob->waiting && wm_coap_is_due(ep->now_ms, ob->deadline_ms)) {
            on_timeout(ep, ob);
        } else if (!ob->waiting && (ob->changed || silent) && wm_coap_is_due(ep->now_ms, ob->next_ms)) {
            on_change(ep, ob);
        }
        if (ob->used && ob->waiting) {
            wm_coap_wake_at(ep, ob->deadline_ms);
        } else if (ob->used && ob->changed) {
            wm_coap_wake_at(ep, ob->next_ms);
        }
    }
}
