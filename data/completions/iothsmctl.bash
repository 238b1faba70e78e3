# SPDX-License-Identifier: LGPL-2.1-or-later
# bash completion for iothsmctl(1). Names of tokens and slots are asked of the service, which answers at once or not at
# all.

_iothsmctl_values()
{
    case $1 in
    --json) echo pretty short off ;;
    --type) echo rsa2048 rsa3072 rsa4096 p256 p384 p521 ed25519 ;;
    --pin-policy) echo never once always ;;
    --touch-policy) echo never always cached ;;
    --hash) echo sha256 sha384 sha512 ;;
    --for) echo platform yubico ;;
    --algorithm) echo 3des aes128 aes192 aes256 ;;
    --token) iothsmctl complete tokens 2>/dev/null | cut -f1 ;;
    --slot) iothsmctl complete free 2>/dev/null | cut -f1 | sed -n 's|.*/||p'
            iothsmctl complete slots 2>/dev/null | cut -f1 | sed 's|.*/||' ;;
    *) return 1 ;;
    esac
}

_iothsmctl_options()
{
    local key="--label= --pin-policy= --touch-policy=" sign="--hash= --days= --replace"
    local passphrase="--passphrase-file= --passphrase-fd=" pin="--pin-file= --pin-fd=" new="--new-pin-file= --new-pin-fd="
    case $1 in
    provision) echo --token= --slot= --type= --import-key= $passphrase --template= --self-signed --csr= --certificate= \
                    --output= --yes $sign $key ;;
    generate) echo --type= $key ;;
    import-key) echo $passphrase $key ;;
    self-sign|csr) echo $sign --output= ;;
    cert|attest|metrics) echo --output= ;;
    clear|"softhsm delete") echo --yes ;;
    drain) echo --undo ;;
    "pin set") echo $pin --persist --memory-only --factory ;;
    "pin change") echo $pin $new ;;
    "pin unblock") echo --puk-file= --puk-fd= $new ;;
    "management-key set") echo --key-file= --key-fd= --persist --memory-only ;;
    "management-key change") echo --key-file= --key-fd= --new-key-file= --new-key-fd= --algorithm= --persist --memory-only ;;
    "management-key protect") echo --key-file= --key-fd= --algorithm= ;;
    "softhsm create") echo $pin --so-pin-file= --so-pin-fd= ;;
    "trust add") echo --for= ;;
    esac
    echo --help --json= --no-pager --no-legend --no-ask-password --quiet
    [[ -n $1 ]] || echo --version
}

# The arguments of verb $1, the $2-th of them.
_iothsmctl_arguments()
{
    case "$1 $2" in
    "show 1") iothsmctl complete places 2>/dev/null | cut -f1 ;;
    "generate 1"|"import-key 1") iothsmctl complete free 2>/dev/null | cut -f1 ;;
    "self-sign 1"|"csr 1"|"import-cert 1"|"cert 1"|"attest 1"|"clear 1") iothsmctl complete slots 2>/dev/null | cut -f1 ;;
    "pin set 1"|"pin change 1"|"pin unblock 1"|"pin forget 1"|"softhsm delete 1"|"management-key set 1"|"management-key change 1"|\
    "management-key protect 1"|"management-key forget 1"|"drain 1")
        iothsmctl complete tokens 2>/dev/null | cut -f1 ;;
    "template 1"|"import-key 2"|"self-sign 2"|"csr 2"|"import-cert 2"|"trust add 1") echo @files ;;
    esac
}

_iothsmctl()
{
    local verbs="status list show link monitor metrics provision template generate import-key self-sign csr import-cert cert
                 attest clear drain pin management-key softhsm trust reload"
    local cur=${COMP_WORDS[COMP_CWORD]} option="" verb="" arguments=0 i word choices
    COMPREPLY=()

    if [[ $cur == "=" ]]; then
        option=${COMP_WORDS[COMP_CWORD-1]} cur=""
    elif ((COMP_CWORD > 1)) && [[ ${COMP_WORDS[COMP_CWORD-1]} == "=" ]]; then
        option=${COMP_WORDS[COMP_CWORD-2]}
    fi
    if [[ -n $option ]]; then
        if choices=$(_iothsmctl_values "$option"); then
            mapfile -t COMPREPLY < <(compgen -W "$choices" -- "$cur")
        else
            compopt -o filenames 2>/dev/null
            mapfile -t COMPREPLY < <(compgen -f -- "$cur")
        fi
        return
    fi

    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if [[ $word == "=" ]]; then
            ((i++))
        elif [[ $word != -* && -z $verb ]]; then
            verb=$word
        elif [[ $word != -* && $verb =~ ^(pin|management-key|softhsm|trust)$ ]]; then
            verb="$verb $word"
        elif [[ $word != -* ]]; then
            ((arguments++))
        fi
    done

    if [[ $cur == -* ]]; then
        choices=$(_iothsmctl_options "$verb")
        mapfile -t COMPREPLY < <(compgen -W "$choices" -- "$cur")
        [[ ${COMPREPLY[0]-} == *= ]] && compopt -o nospace 2>/dev/null
        return
    fi
    case $verb in
    "") choices=$verbs ;;
    pin) choices="set change unblock forget" ;;
    management-key) choices="set change protect forget" ;;
    softhsm) choices="create delete" ;;
    trust) choices="add show" ;;
    *) choices=$(_iothsmctl_arguments "$verb" $((arguments + 1))) ;;
    esac
    if [[ $choices == @files ]]; then
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
    else
        mapfile -t COMPREPLY < <(compgen -W "$choices" -- "$cur")
    fi
}

complete -F _iothsmctl iothsmctl
