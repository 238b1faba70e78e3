# SPDX-License-Identifier: LGPL-2.1-or-later
# fish completion for iothsmctl(1). Names of tokens and slots are asked of the service, which answers at once or not at
# all.

set -l verbs status list show link monitor metrics provision template generate import-key self-sign csr import-cert cert \
    attest clear drain pin management-key softhsm kms trust reload

function __iothsmctl_verb --description 'Is this the verb, with its second word where it has one?'
    set -l words
    for word in (commandline -opc)[2..]
        string match -q -- '-*' $word; or set -a words $word
    end
    set -q argv[2]; or set words $words[1]
    test "$words[1..2]" = "$argv"
end

function __iothsmctl_names
    iothsmctl complete $argv[1] 2>/dev/null
end

function __iothsmctl_slot_names
    for kind in slots free
        iothsmctl complete $kind 2>/dev/null | string match -r '[^/\t]+\t.*$'
    end
end

complete -c iothsmctl -f
complete -c iothsmctl -s h -l help -d 'Show help'
complete -c iothsmctl -n "not __fish_seen_subcommand_from $verbs" -l version -d 'Show the version'
complete -c iothsmctl -l json -x -a 'pretty short off' -d 'Answer in JSON'
complete -c iothsmctl -s j -d 'JSON, pretty on a terminal'
complete -c iothsmctl -l no-pager -d 'Do not use a pager'
complete -c iothsmctl -l no-legend -d 'Print no column titles'
complete -c iothsmctl -l no-ask-password -d 'Ask for no password and no PIN'
complete -c iothsmctl -s q -l quiet -d 'Print no progress and no confirmation'

set -l first "not __fish_seen_subcommand_from $verbs"
complete -c iothsmctl -n $first -a status -d 'Where everything stands'
complete -c iothsmctl -n $first -a list -d 'List all tokens with their slots'
complete -c iothsmctl -n $first -a show -d 'Show everything about a token or a slot'
complete -c iothsmctl -n $first -a link -d 'Show the connection to the platform'
complete -c iothsmctl -n $first -a monitor -d 'Follow what happens'
complete -c iothsmctl -n $first -a metrics -d 'Print what a monitoring system wants to know'
complete -c iothsmctl -n $first -a provision -d 'Make a CA, step by step'
complete -c iothsmctl -n $first -a template -d 'Show what a provisioning certificate would make'
complete -c iothsmctl -n $first -a generate -d 'Generate a key'
complete -c iothsmctl -n $first -a import-key -d 'Import a private key'
complete -c iothsmctl -n $first -a self-sign -d 'Make the own certificate of the CA'
complete -c iothsmctl -n $first -a csr -d 'Make a certificate request'
complete -c iothsmctl -n $first -a import-cert -d 'Import a signed certificate'
complete -c iothsmctl -n $first -a cert -d 'Print the certificate in a slot'
complete -c iothsmctl -n $first -a attest -d 'Print the statement of a YubiKey that it made a key'
complete -c iothsmctl -n $first -a clear -d 'Destroy the key and the certificate in a slot'
complete -c iothsmctl -n $first -a drain -d 'Let a token finish its work and take no more'
complete -c iothsmctl -n $first -a pin -d 'Give, change, unblock or forget a PIN'
complete -c iothsmctl -n $first -a management-key -d 'Give, change, protect or forget a management key'
complete -c iothsmctl -n $first -a softhsm -d 'Create or delete a token in software'
complete -c iothsmctl -n $first -a kms -d 'Use key rings of Google Cloud KMS'
complete -c iothsmctl -n $first -a trust -d 'Add or show trusted certificates'
complete -c iothsmctl -n $first -a reload -d 'Read the configuration and look for tokens again'
complete -c iothsmctl -n '__iothsmctl_verb pin; and not __fish_seen_subcommand_from set change unblock forget' \
    -a 'set change unblock forget'
complete -c iothsmctl -n '__iothsmctl_verb management-key; and not __fish_seen_subcommand_from set change protect forget' \
    -a 'set change protect forget'
complete -c iothsmctl -n '__iothsmctl_verb softhsm; and not __fish_seen_subcommand_from create delete' -a 'create delete'
complete -c iothsmctl -n '__iothsmctl_verb kms; and not __fish_seen_subcommand_from browse add remove' -a 'browse add remove'
complete -c iothsmctl -n '__iothsmctl_verb trust; and not __fish_seen_subcommand_from add show' -a 'add show'

complete -c iothsmctl -n '__iothsmctl_verb show' -a '(__iothsmctl_names places)'
for verb in generate import-key
    complete -c iothsmctl -n "__iothsmctl_verb $verb" -a '(__iothsmctl_names free)'
end
for verb in self-sign csr import-cert cert attest clear
    complete -c iothsmctl -n "__iothsmctl_verb $verb" -a '(__iothsmctl_names slots)'
end
for verb in 'pin set' 'pin change' 'pin unblock' 'pin forget' 'softhsm delete' 'kms remove' 'management-key set' 'management-key change' \
        'management-key protect' 'management-key forget' drain
    complete -c iothsmctl -n "__iothsmctl_verb $verb" -a '(__iothsmctl_names tokens)'
end
for verb in template import-key self-sign csr import-cert 'trust add'
    complete -c iothsmctl -n "__iothsmctl_verb $verb" -F
end

for verb in generate provision
    complete -c iothsmctl -n "__iothsmctl_verb $verb" -s t -l type -x -a 'rsa2048 rsa3072 rsa4096 p256 p384 p521 ed25519' \
        -d 'Type of the key'
end
for verb in generate import-key provision
    complete -c iothsmctl -n "__iothsmctl_verb $verb" -l label -x -d 'Label of the key'
    complete -c iothsmctl -n "__iothsmctl_verb $verb" -l pin-policy -x -a 'never once always' -d 'When the PIN is wanted'
    complete -c iothsmctl -n "__iothsmctl_verb $verb" -l touch-policy -x -a 'never always cached' -d 'When a touch is wanted'
end
for verb in import-key provision
    complete -c iothsmctl -n "__iothsmctl_verb $verb" -l passphrase-file -r -F -d 'File with the passphrase'
    complete -c iothsmctl -n "__iothsmctl_verb $verb" -l passphrase-fd -x -d 'Descriptor with the passphrase'
end
for verb in self-sign csr provision
    complete -c iothsmctl -n "__iothsmctl_verb $verb" -l hash -x -a 'sha256 sha384 sha512' -d 'Hash to sign with'
    complete -c iothsmctl -n "__iothsmctl_verb $verb" -l days -x -d 'Days of validity'
    complete -c iothsmctl -n "__iothsmctl_verb $verb" -l replace -d 'Replace a certificate that is in use'
end
for verb in self-sign csr cert attest provision
    complete -c iothsmctl -n "__iothsmctl_verb $verb" -s o -l output -r -F -d 'Write the PEM to a file'
end
complete -c iothsmctl -n '__iothsmctl_verb metrics' -s o -l output -r -F -d 'Replace a file'
for verb in clear provision 'softhsm delete' 'kms add' 'kms remove'
    complete -c iothsmctl -n "__iothsmctl_verb $verb" -s y -l yes -d 'Do not ask whether it is meant'
end
complete -c iothsmctl -n '__iothsmctl_verb drain' -l undo -d 'Let it work again'
complete -c iothsmctl -n '__iothsmctl_verb provision' -l token -x -a '(__iothsmctl_names tokens)' -d 'The token'
complete -c iothsmctl -n '__iothsmctl_verb provision' -l slot -x -a '(__iothsmctl_slot_names)' -d 'The slot'
complete -c iothsmctl -n '__iothsmctl_verb provision' -l import-key -r -F -d 'Import the key'
complete -c iothsmctl -n '__iothsmctl_verb provision' -l template -r -F -d 'The provisioning certificate'
complete -c iothsmctl -n '__iothsmctl_verb provision' -l self-signed -d 'Make a root CA'
complete -c iothsmctl -n '__iothsmctl_verb provision' -l csr -r -F -d 'Make a request'
complete -c iothsmctl -n '__iothsmctl_verb provision' -l certificate -r -F -d 'Import the signed certificate'
for verb in 'pin set' 'pin change' 'softhsm create'
    complete -c iothsmctl -n "__iothsmctl_verb $verb" -l pin-file -r -F -d 'File with the PIN'
    complete -c iothsmctl -n "__iothsmctl_verb $verb" -l pin-fd -x -d 'Descriptor with the PIN'
end
for verb in 'pin change' 'pin unblock'
    complete -c iothsmctl -n "__iothsmctl_verb $verb" -l new-pin-file -r -F -d 'File with the new PIN'
    complete -c iothsmctl -n "__iothsmctl_verb $verb" -l new-pin-fd -x -d 'Descriptor with the new PIN'
end
for verb in 'pin set' 'management-key set' 'management-key change'
    complete -c iothsmctl -n "__iothsmctl_verb $verb" -l persist -d 'Fail unless it can be kept'
    complete -c iothsmctl -n "__iothsmctl_verb $verb" -l memory-only -d 'Forget it when the service ends'
end
complete -c iothsmctl -n '__iothsmctl_verb pin set' -l factory -d 'The factory PIN, where the token has it'
for verb in 'management-key set' 'management-key change' 'management-key protect'
    complete -c iothsmctl -n "__iothsmctl_verb $verb" -l key-file -r -F -d 'File with the management key'
    complete -c iothsmctl -n "__iothsmctl_verb $verb" -l key-fd -x -d 'Descriptor with the management key'
end
for verb in 'management-key change' 'management-key protect'
    complete -c iothsmctl -n "__iothsmctl_verb $verb" -l algorithm -x -a '3des aes128 aes192 aes256' -d 'Kind of the new key'
end
complete -c iothsmctl -n '__iothsmctl_verb management-key change' -l new-key-file -r -F -d 'File with the new key'
complete -c iothsmctl -n '__iothsmctl_verb management-key change' -l new-key-fd -x -d 'Descriptor with the new key'
complete -c iothsmctl -n '__iothsmctl_verb pin unblock' -l puk-file -r -F -d 'File with the PUK'
complete -c iothsmctl -n '__iothsmctl_verb pin unblock' -l puk-fd -x -d 'Descriptor with the PUK'
complete -c iothsmctl -n '__iothsmctl_verb softhsm create' -l so-pin-file -r -F -d 'File with the PIN of the security officer'
complete -c iothsmctl -n '__iothsmctl_verb softhsm create' -l so-pin-fd -x -d 'Descriptor with it'
for verb in 'kms browse' 'kms add'
    complete -c iothsmctl -n "__iothsmctl_verb $verb" -l credentials -r -F -d 'Key file of a service account'
end
complete -c iothsmctl -n '__iothsmctl_verb trust add' -l for -x -a 'platform yubico' -d 'What it is trusted for'
